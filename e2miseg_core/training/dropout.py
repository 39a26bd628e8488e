"""Dropout that depends on seed, step and sample alone.

However a batch is shared out over processes, a sample is trained with the same mask.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["SampleDropout"]

# Drawn for each of these axes of the input; a mask is broadcast over the others.
_WHOLE_CHANNELS: Mapping[Callable[..., Tensor], int] = {
    F.dropout1d: 2,
    F.dropout2d: 2,
    F.dropout3d: 2,
}


class SampleDropout(TorchFunctionMode):
    """Within it, every dropout draws sample by sample.

    Parameters
    ----------
    seed, step : int
    samples : iterable of int
        Numbers, within the whole batch, of the samples that this process computes; the
        first axis of what is dropped from is theirs, or a multiple of it.
    device : torch.device

    Notes
    -----
    A context of torch functions, so that networks need not know of it: the modules of
    `torch.nn` call the functions that it takes over. It does not reach into a backward
    pass, so not into what is computed again there (activation checkpointing).
    """

    def __init__(
        self, seed: int, step: int, samples: Iterable[int], device: torch.device
    ) -> None:
        super().__init__()
        self._generators = [
            torch.Generator(device).manual_seed(_mixed(seed, step, sample))
            for sample in samples
        ]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take over dropout; let everything else be."""
        if func is F.dropout or func in _WHOLE_CHANNELS:
            axes = _WHOLE_CHANNELS.get(func)
            return self._drop(axes, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _drop(
        self,
        axes: int | None,
        input: Tensor,  # noqa: A002 - torch's name for it
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        if not training or p == 0:
            return input
        drawn = input.shape if axes is None else input.shape[:axes]
        each = (drawn[0] // len(self._generators), *drawn[1:])
        kept = torch.cat(
            [
                torch.rand(each, generator=generator, device=input.device) >= p
                for generator in self._generators
            ]
        )
        kept = kept.reshape(*drawn, *(1 for _ in input.shape[len(drawn) :]))
        return input * (kept.to(input.dtype) / (1 - p))


def _mixed(seed: int, step: int, sample: int) -> int:
    """One number of three, as good as random; the same everywhere."""
    return int(np.random.SeedSequence([seed, step, sample]).generate_state(1)[0])
