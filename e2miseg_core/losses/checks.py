"""Whether what a loss is given fits together."""

import torch
from torch import Tensor

from e2miseg_core.errors import GeometryError

__all__ = ["check_inputs"]


def check_inputs(
    logits: Tensor, labels: Tensor, valid: Tensor | None, *, n_classes: int = 0
) -> None:
    """Raise GeometryError unless labels and mask have a voxel for each of the logits.

    Labels with an axis of channels would be spread over the batch without a word, and
    a mask of numbers would be taken for indices. Values are not looked at: that would
    make a GPU wait.

    Parameters
    ----------
    logits : Tensor, shape (N, C, Z, Y, X)
    labels : Tensor, shape (N, Z, Y, X)
    valid : Tensor of bool, shape (N, Z, Y, X), or None
    n_classes : int
        What C must be, if not 0.
    """
    shape = (logits.shape[0], *logits.shape[2:])
    right = logits.ndim == 5 and n_classes in (0, logits.shape[1])
    if not right or labels.shape != shape:
        classes = n_classes or "C"
        raise GeometryError(
            found=f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)}",
            needed=f"(N, {classes}, Z, Y, X) and (N, Z, Y, X)",
            do="leave the labels' axis of channels out, or correct the shapes",
        )
    if valid is not None and (valid.shape != shape or valid.dtype != torch.bool):
        raise GeometryError(
            found=f"a mask {tuple(valid.shape)} of {valid.dtype}",
            needed=f"{shape} of torch.bool, as the labels",
            do="correct the mask",
        )
