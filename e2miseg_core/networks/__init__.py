"""Networks, their configurations and presets."""

from e2miseg_core.networks.architectures import (
    Network,
    NetworkConfig,
    build_network,
    network_from_json,
    network_to_json,
)
from e2miseg_core.networks.config import E2MISegConfig
from e2miseg_core.networks.e2miseg import E2MISeg
from e2miseg_core.networks.outputs import TrainingOutputs
from e2miseg_core.networks.presets import PRESETS, Preset, preset_config

__all__ = [
    "PRESETS",
    "E2MISeg",
    "E2MISegConfig",
    "Network",
    "NetworkConfig",
    "Preset",
    "TrainingOutputs",
    "build_network",
    "create_network",
    "network_from_json",
    "network_to_json",
    "preset_config",
]


def create_network(
    preset: str,
    *,
    in_channels: int,
    n_classes: int,
    patch_size: tuple[int, int, int] | None = None,
) -> E2MISeg:
    """Build a network with random weights.

    Parameters
    ----------
    preset : str
        A key of `PRESETS`.
    in_channels, n_classes : int
        `n_classes` counts the background.
    patch_size : tuple of 3 int, optional
        Patch (ZYX); the preset's own when left out.

    Returns
    -------
    E2MISeg

    Raises
    ------
    ConfigError
        For an unknown preset, or a patch that the strides do not divide.
    """
    changes: dict[str, object] = {"in_channels": in_channels, "n_classes": n_classes}
    if patch_size is not None:
        changes["patch_size"] = patch_size
    return E2MISeg(preset_config(preset, **changes))
