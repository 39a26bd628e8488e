"""Cross-entropy plus the scale-sensitive Dice term (specification A.5)."""

import torch.nn.functional as F
from torch import Tensor

from e2miseg_core.losses.scale_sensitive import scale_sensitive_loss

__all__ = ["compound_loss"]


def compound_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    ss_form: str,
    ss_weight: float,
    valid: Tensor | None = None,
    batch: bool = False,
) -> Tensor:
    """Voxel-mean cross-entropy plus `ss_weight` times the SS term.

    Parameters
    ----------
    logits : Tensor, shape (N, C, Z, Y, X)
    labels : Tensor of int, shape (N, Z, Y, X)
    ss_form, batch
        See `scale_sensitive_loss`.
    ss_weight : float
        1.45 for ACDC and brain, 2.0 for PET as published.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count. Without a single one the cross-entropy is 0.

    Returns
    -------
    Tensor, shape ()
        Close to -ss_weight for a perfect prediction.
    """
    entropy = F.cross_entropy(logits.float(), labels.long(), reduction="none")
    if valid is None:
        mean_entropy = entropy.mean()
    else:
        mean_entropy = (entropy * valid).sum() / valid.sum().clamp(min=1)
    scale_term = scale_sensitive_loss(
        logits, labels, form=ss_form, valid=valid, batch=batch
    )
    return mean_entropy + ss_weight * scale_term
