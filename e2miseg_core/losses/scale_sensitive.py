"""SS, the scale-sensitive Dice term of E2MISeg (specification A.5).

After Jiang et al., Expert Systems with Applications 296 (2026) 128861; the weight is
the scale term of the SLS loss of MSHNet (arXiv 2403.19366).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from e2miseg_core.losses.checks import check_inputs
from e2miseg_core.losses.precision import full_precision
from e2miseg_core.losses.settings import SS_FORMS, check_choice

__all__ = ["scale_sensitive_loss", "scale_sensitive_term", "scale_weight"]

EPSILON = 1e-5


class SoftVolumes(NamedTuple):
    """Voxels of each sample and class, each of shape (N, classes)."""

    overlap: Tensor
    predicted: Tensor
    true: Tensor


def scale_weight(predicted: Tensor, true: Tensor, form: str) -> Tensor:
    """The weight alpha of a class from its soft volumes.

    Parameters
    ----------
    predicted, true : Tensor, any shape
        Predicted and true volume of each class, in voxels.
    form : {"paper", "relative", "off"}
        "paper": v = ((P - T) / 2)^2, as published; it falls back to 1 for gross
        differences. "relative": v divided by max(P, T), which makes alpha scale-free
        and monotone, 1 - r / (1 + r^2 / 4) with r = |P - T| / max(P, T).
        "off": 1.

    Returns
    -------
    Tensor, shape of `predicted`
        In (0, 1]; 1 where the volumes agree.

    Raises
    ------
    ConfigError
        For another form.
    """
    check_choice("SS form", form, SS_FORMS, "--ss")
    if form == "off":
        return torch.ones_like(predicted)
    smaller, larger = torch.minimum(predicted, true), torch.maximum(predicted, true)
    spread = ((predicted - true) / 2) ** 2
    if form == "relative":
        spread = spread / (larger + EPSILON)
    return (smaller + spread + EPSILON) / (larger + spread + EPSILON)


@full_precision
def scale_sensitive_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    form: str,
    valid: Tensor | None = None,
    batch: bool = False,
    background: bool = False,
) -> Tensor:
    """Minus the mean over classes (and samples) of alpha times Dice.

    Parameters
    ----------
    logits : Tensor, shape (N, C, Z, Y, X)
        C counts the background.
    labels : Tensor of int, shape (N, Z, Y, X)
        True class of each voxel.
    form : {"paper", "relative", "off"}
        See `scale_weight`; "off" is the plain soft Dice.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count; all of them when left out.
    batch : bool
        Sum over the batch before taking ratios, instead of sample by sample.
    background : bool
        Count the background as a class; as published it takes no part.

    Returns
    -------
    Tensor, shape ()
        In [-1, 0]; 0 where no voxel counts.

    Raises
    ------
    GeometryError
        If shapes do not fit.
    ConfigError
        For another form.

    Notes
    -----
    A class absent from both prediction and target has alpha = Dice = 1, which rewards
    its absence, most of all sample by sample (specification A.5, tests). A sample
    without any counting voxel is neither rewarded nor punished: the mean is that of
    the others. alpha is not detached, as published.
    """
    check_inputs(logits, labels, valid)
    return scale_sensitive_term(
        torch.softmax(logits, dim=1),
        labels,
        form=form,
        valid=valid,
        batch=batch,
        background=background,
    )


def scale_sensitive_term(
    probabilities: Tensor,
    labels: Tensor,
    *,
    form: str,
    valid: Tensor | None,
    batch: bool,
    background: bool,
) -> Tensor:
    """`scale_sensitive_loss` of probabilities (N, C, Z, Y, X)."""
    volumes = soft_volumes(probabilities, labels, valid, 0 if background else 1)
    counts = _any_counts(labels, valid)
    if batch:
        volumes = SoftVolumes(*(part.sum(0, keepdim=True) for part in volumes))
        counts = counts.any(0, keepdim=True)
    overlap, predicted, true = volumes
    dice = (2 * overlap + EPSILON) / (predicted + true + EPSILON + 1e-8)
    scores = (scale_weight(predicted, true, form) * dice).mean(1)
    return -(scores * counts).sum() / counts.sum().clamp(min=1)


def soft_volumes(
    probabilities: Tensor, labels: Tensor, valid: Tensor | None, first: int
) -> SoftVolumes:
    """Sums over the voxels that count, of the classes from `first` on.

    Class by class, so that neither one-hot targets nor masked copies of all
    probabilities are made.
    """
    overlap, predicted, true = [], [], []
    for number in range(first, probabilities.shape[1]):
        of_class, is_class = probabilities[:, number], labels == number
        if valid is not None:
            of_class, is_class = of_class * valid, is_class & valid
        overlap.append((of_class * is_class).flatten(1).sum(1))
        predicted.append(of_class.flatten(1).sum(1))
        true.append(is_class.flatten(1).sum(1).to(probabilities.dtype))
    return SoftVolumes(
        torch.stack(overlap, 1), torch.stack(predicted, 1), torch.stack(true, 1)
    )


def _any_counts(labels: Tensor, valid: Tensor | None) -> Tensor:
    """Which samples have a voxel that counts, (N,)."""
    if valid is None:
        return torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    return valid.flatten(1).any(1)
