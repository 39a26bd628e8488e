"""Lovász-softmax: the Jaccard index as a loss, by its convex extension.

References
----------
.. [1] M. Berman, A. R. Triki, M. B. Blaschko, "The Lovász-Softmax loss: a tractable
   surrogate for the optimization of the intersection-over-union measure in neural
   networks", CVPR 2018, equations 8, 9 and 11.
"""

import torch
from torch import Tensor

from e2miseg_core.losses.checks import check_inputs
from e2miseg_core.losses.precision import full_precision

__all__ = ["lovasz_softmax", "lovasz_term"]


@full_precision
def lovasz_softmax(
    logits: Tensor, labels: Tensor, *, valid: Tensor | None = None
) -> Tensor:
    """Lovász-softmax over the classes present, all voxels of the batch pooled.

    Parameters
    ----------
    logits : Tensor, shape (N, C, Z, Y, X)
        C counts the background, which is a class like others.
    labels : Tensor of int or bool, shape (N, Z, Y, X)
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count; all of them when left out.

    Returns
    -------
    Tensor, shape ()
        In [0, 1]; 0 for a perfect prediction and where no voxel counts.

    Raises
    ------
    GeometryError
        If shapes do not fit.

    Notes
    -----
    A class that no counting voxel has is left out, as specification B.6 has it: what
    is wrongly found of it costs something only by the classes that it displaces.
    """
    check_inputs(logits, labels, valid)
    return lovasz_term(torch.softmax(logits, dim=1), labels, valid)


def lovasz_term(probabilities: Tensor, labels: Tensor, valid: Tensor | None) -> Tensor:
    """`lovasz_softmax` of probabilities (N, C, Z, Y, X)."""
    pooled = probabilities.movedim(1, 0).flatten(1)  # (C, voxels)
    labels = labels.flatten()
    if valid is not None:
        counted = valid.flatten()
        pooled, labels = pooled[:, counted], labels[counted]
    terms = []
    order: Tensor | None = None
    for number, of_class in enumerate(pooled):
        is_class = labels == number
        if not is_class.any():
            continue
        errors = torch.where(is_class, 1 - of_class, of_class)
        if order is None or len(pooled) > 2:
            order = errors.detach().argsort(descending=True)
        # Two classes err by the same amount at every voxel: one sorting serves both.
        steps = _jaccard_steps(is_class[order], errors.dtype)
        terms.append((errors[order] * steps).sum())
    if not terms:
        return 0 * pooled.sum()  # keeps a gradient, of zeros
    return torch.stack(terms).mean()


def _jaccard_steps(is_class: Tensor, dtype: torch.dtype) -> Tensor:
    """How much the Jaccard loss grows as each voxel, in this order, becomes wrong.

    With I voxels of the class, of which m are wrong, and w wrong voxels of others,
    the loss is 1 - (I - m) / (I + w). A voxel of the class adds 1 / (I + w); another,
    which makes w of w - 1, adds (I - m) / ((I + w) (I + w - 1)). Differences of
    neighbouring losses would be the same, but lose most of their digits in float32.
    """
    missed = is_class.cumsum(0)
    n_class = missed[-1]
    ranks = torch.arange(1, len(is_class) + 1, device=is_class.device)
    union = (n_class + ranks - missed).to(dtype)
    left = (n_class - missed).to(dtype)
    return torch.where(is_class, 1 / union, left / (union * (union - 1).clamp(min=1)))
