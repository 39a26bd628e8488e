"""Cross-entropy and what is added to it at one resolution (specification A.5)."""

import torch.nn.functional as F
from torch import Tensor

from e2miseg_core.losses.boundary import boundary_weights
from e2miseg_core.losses.checks import check_inputs
from e2miseg_core.losses.lovasz import lovasz_term
from e2miseg_core.losses.precision import full_precision
from e2miseg_core.losses.scale_sensitive import scale_sensitive_term
from e2miseg_core.losses.settings import LossSettings

__all__ = ["segmentation_loss"]


@full_precision
def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    settings: LossSettings,
    valid: Tensor | None = None,
) -> Tensor:
    """The weighted sum of cross-entropy, SS term and Lovász-softmax.

    Parameters
    ----------
    logits : Tensor, shape (N, C, Z, Y, X)
    labels : Tensor of int, shape (N, Z, Y, X)
        Anything at all where `valid` is false.
    settings : LossSettings
        What it says of edge heads is not looked at.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count. Elsewhere the gradient is exactly 0; without a single one
        the loss is 0.

    Returns
    -------
    Tensor, shape ()
        Close to minus the SS term's weight for a perfect prediction.

    Raises
    ------
    GeometryError
        If shapes do not fit.
    """
    check_inputs(logits, labels, valid)
    log_probabilities = F.log_softmax(logits, dim=1)  # the softmax of all terms
    weights = valid
    if settings.boundary_weight:
        weights = boundary_weights(labels, settings.boundary_weight, valid=valid)
    total = _cross_entropy(log_probabilities, labels, valid, weights)
    if not settings.ss_weight and not settings.lovasz_weight:
        return total
    probabilities = log_probabilities.exp()
    if settings.ss_weight:
        total = total + settings.ss_weight * scale_sensitive_term(
            probabilities,
            labels,
            form=settings.ss_form,
            valid=valid,
            batch=settings.batch_dice,
            background=settings.background,
        )
    if settings.lovasz_weight:
        term = lovasz_term(probabilities, labels, valid)
        total = total + settings.lovasz_weight * term
    return total


def _cross_entropy(
    log_probabilities: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    weights: Tensor | None,
) -> Tensor:
    """Mean cross-entropy over voxels, weighted by `weights` (N, Z, Y, X)."""
    known = labels.long() if valid is None else labels.long().masked_fill(~valid, 0)
    entropy = -log_probabilities.gather(1, known[:, None])[:, 0]
    if weights is None:
        return entropy.mean()
    # Weights are 0 or at least 1, so a sum below 1 means that no voxel counts.
    return (entropy * weights).sum() / weights.sum().clamp(min=1)
