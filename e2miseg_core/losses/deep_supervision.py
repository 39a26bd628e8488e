"""One loss at several resolutions (specification A.5, deep supervision)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["deep_supervision_loss", "level_weights", "resize_labels"]

LevelLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def level_weights(n_levels: int) -> list[float]:
    """Weights 1, 1/2, 1/4, ... scaled to sum 1, finest level first."""
    raw = [0.5**level for level in range(n_levels)]
    return [w / sum(raw) for w in raw]


def resize_labels(labels: Tensor, shape: Sequence[int]) -> Tensor:
    """Nearest-neighbour resize of (N, Z, Y, X) labels or masks to (N, *shape).

    A coarse voxel gets the label of a fine one at most half a voxel from its centre, as
    skimage and nnU-Net resize; the voxel at its first corner would be further off the
    coarser it is.
    """
    if labels.shape[1:] == torch.Size(shape):
        return labels
    fine = labels[:, None].float()
    resized = F.interpolate(fine, size=tuple(shape), mode="nearest-exact")
    return resized[:, 0].to(labels.dtype)


def deep_supervision_loss(
    levels: Sequence[Tensor],
    labels: Tensor,
    loss: LevelLoss,
    *,
    valid: Tensor | None = None,
) -> Tensor:
    """Weighted sum of `loss` over the decoder's levels.

    Parameters
    ----------
    levels : sequence of Tensor, shapes (N, C, Z_i, Y_i, X_i)
        Logits, finest first.
    labels : Tensor of int, shape (N, Z, Y, X)
        At the finest resolution; coarser targets are nearest neighbours of it.
    loss : callable
        `loss(logits, labels, valid)` of one level.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count.

    Returns
    -------
    Tensor, shape ()
    """
    total = levels[0].new_zeros((), dtype=torch.float32)
    for weight, logits in zip(level_weights(len(levels)), levels, strict=True):
        shape = logits.shape[2:]
        counted = None if valid is None else resize_labels(valid, shape)
        total = total + weight * loss(logits, resize_labels(labels, shape), counted)
    return total
