"""The number format that losses are computed in."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor

__all__ = ["full_precision"]

P = ParamSpec("P")
Loss = Callable[Concatenate[Tensor, P], Tensor]


def full_precision(loss: Loss[P]) -> Loss[P]:
    """Make a loss of logits compute in float32, in float64 if they are that.

    Sums over millions of voxels have no place in half precision, so autocast is off
    inside, and what comes in shorter is made longer first.
    """

    @wraps(loss)
    def computed(logits: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        exact = logits if logits.dtype == torch.float64 else logits.float()
        with torch.autocast(logits.device.type, enabled=False):
            return loss(exact, *args, **kwargs)

    return computed
