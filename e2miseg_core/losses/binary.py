"""Cross-entropy and Dice of two classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from e2miseg_core.losses.checks import check_inputs
from e2miseg_core.losses.precision import full_precision

__all__ = ["bce_dice_loss"]


@full_precision
def bce_dice_loss(
    logits: Tensor, mask: Tensor, *, valid: Tensor | None = None
) -> Tensor:
    """Half binary cross-entropy, half Dice loss over the whole batch [1]_.

    Parameters
    ----------
    logits : Tensor, shape (N, 2, Z, Y, X)
        Of two classes, the second being the one that is looked for. A network with
        one logit s has (0, s).
    mask : Tensor of bool, shape (N, Z, Y, X)
        Where it is.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count; all of them when left out.

    Returns
    -------
    Tensor, shape ()
        At least 0; 0 where no voxel counts.

    Raises
    ------
    GeometryError
        If shapes do not fit, or there are more classes.

    References
    ----------
    .. [1] Specification B.6, on logits since probabilities overflow in half precision
       (B.8, defect 13); Dice with 1 added to numerator and denominator.
    """
    check_inputs(logits, mask, valid, n_classes=2)
    single = logits[:, 1] - logits[:, 0]
    target = mask.to(single.dtype)
    entropy = F.binary_cross_entropy_with_logits(single, target, reduction="none")
    probabilities = torch.sigmoid(single)
    if valid is None:
        mean_entropy = entropy.mean()
    else:
        mean_entropy = (entropy * valid).sum() / valid.sum().clamp(min=1)
        probabilities, target = probabilities * valid, target * valid
    overlap = (probabilities * target).sum()
    dice = (2 * overlap + 1) / (probabilities.sum() + target.sum() + 1)
    return 0.5 * mean_entropy + 0.5 * (1 - dice)
