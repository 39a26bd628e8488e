"""Training losses; sums in float32 whatever the network's dtype."""

from e2miseg_core.losses.binary import bce_dice_loss
from e2miseg_core.losses.boundary import boundary_weights
from e2miseg_core.losses.compound import segmentation_loss
from e2miseg_core.losses.deep_supervision import deep_supervision_loss
from e2miseg_core.losses.edges import edge_loss, edge_target
from e2miseg_core.losses.lovasz import lovasz_softmax
from e2miseg_core.losses.objective import Objective, edge_term, objective_of
from e2miseg_core.losses.scale_sensitive import scale_sensitive_loss, scale_weight
from e2miseg_core.losses.settings import EDGE_LOSSES, SS_FORMS, LossSettings

__all__ = [
    "EDGE_LOSSES",
    "SS_FORMS",
    "LossSettings",
    "Objective",
    "bce_dice_loss",
    "boundary_weights",
    "deep_supervision_loss",
    "edge_loss",
    "edge_target",
    "edge_term",
    "lovasz_softmax",
    "objective_of",
    "scale_sensitive_loss",
    "scale_weight",
    "segmentation_loss",
]
