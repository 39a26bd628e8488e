"""Training losses; sums in float32 whatever the network's dtype."""

from e2miseg_core.losses.compound import compound_loss
from e2miseg_core.losses.deep_supervision import deep_supervision_loss
from e2miseg_core.losses.scale_sensitive import (
    SS_FORMS,
    scale_sensitive_loss,
    scale_weight,
)

__all__ = [
    "SS_FORMS",
    "compound_loss",
    "deep_supervision_loss",
    "scale_sensitive_loss",
    "scale_weight",
]
