"""SS, the scale-sensitive Dice term of E2MISeg (specification A.5).

After Jiang et al., Expert Systems with Applications 296 (2026) 128861; the weight is
the scale term of the SLS loss of MSHNet (arXiv 2403.19366).
"""

import torch
from torch import Tensor

from e2miseg_core.errors import ConfigError

__all__ = ["SS_FORMS", "scale_sensitive_loss", "scale_weight"]

SS_FORMS = ("paper", "relative", "off")
EPSILON = 1e-5


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
    smaller, larger = torch.minimum(predicted, true), torch.maximum(predicted, true)
    spread = ((predicted - true) / 2) ** 2
    if form == "paper":
        return (smaller + spread + EPSILON) / (larger + spread + EPSILON)
    if form == "relative":
        spread = spread / (larger + EPSILON)
        return (smaller + spread + EPSILON) / (larger + spread + EPSILON)
    if form == "off":
        return torch.ones_like(predicted)
    raise ConfigError(
        found=f"the SS form {form!r}",
        needed=f"one of {', '.join(SS_FORMS)}",
        do="correct the recipe",
    )


def scale_sensitive_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    form: str,
    valid: Tensor | None = None,
    batch: bool = False,
) -> Tensor:
    """Minus the mean over foreground classes (and samples) of alpha times Dice.

    Parameters
    ----------
    logits : Tensor, shape (N, C, Z, Y, X)
        C counts the background, which takes no part.
    labels : Tensor of int, shape (N, Z, Y, X)
        True class of each voxel.
    form : {"paper", "relative", "off"}
        See `scale_weight`; "off" is the plain soft Dice.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels that count; all of them when left out.
    batch : bool
        Sum over the batch before taking ratios, instead of sample by sample.

    Returns
    -------
    Tensor, shape ()
        In [-1, 0].

    Notes
    -----
    A class absent from both prediction and target has alpha = Dice = 1, which rewards
    its absence (specification A.5, tests). alpha is not detached, as published.
    """
    probabilities = torch.softmax(logits.float(), dim=1)[:, 1:]
    target = torch.stack([labels == c for c in range(1, logits.shape[1])], dim=1)
    target = target.to(probabilities.dtype)  # (N, C - 1, Z, Y, X)
    if valid is not None:
        counted = valid[:, None].to(probabilities.dtype)
        probabilities, target = probabilities * counted, target * counted
    axes = (0, 2, 3, 4) if batch else (2, 3, 4)
    overlap = (probabilities * target).sum(axes)
    predicted, true = probabilities.sum(axes), target.sum(axes)
    dice = (2 * overlap + EPSILON) / (predicted + true + EPSILON + 1e-8)
    return -(scale_weight(predicted, true, form) * dice).mean()
