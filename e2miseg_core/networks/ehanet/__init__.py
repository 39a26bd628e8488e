"""EHANet for slices and 2D pictures: specification part B."""

from e2miseg_core.networks.ehanet.config import EHANetConfig
from e2miseg_core.networks.ehanet.network import EHANet

__all__ = ["EHANet", "EHANetConfig"]
