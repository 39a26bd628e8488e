"""The batches of a fine-tuning: corrections and memory, as they are.

Nothing is changed at random: in the hundred steps that there are, a network does better
to learn what it was corrected on than what it might have looked like
(docs/simulation.md).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from e2miseg_core.training.crops import Crop
from e2miseg_core.training.patches import sample_generator

__all__ = ["Batch", "Sampler", "TuningBatches"]

Batch = tuple[Tensor, Tensor, Tensor]  # image, classes, which voxels count


class Sampler(Protocol):
    """Gives random patches."""

    def sample(self, random: np.random.Generator) -> Crop:
        """One patch."""
        ...


class TuningBatches:
    """Makes the batch of a step; the same whenever it is made.

    Parameters
    ----------
    samplers : sequence of Sampler
        One for each patch of a batch.
    seed : int
    """

    def __init__(self, samplers: Sequence[Sampler], seed: int) -> None:
        self._samplers, self._seed = samplers, seed

    def ahead(self, pool: Executor, steps: range) -> Iterator[Batch]:
        """The batches of `steps`, the next one made in advance."""
        coming: Future[Batch] | None = None
        for step in steps:
            batch = (coming or pool.submit(self._make, step)).result()
            if step + 1 in steps:
                coming = pool.submit(self._make, step + 1)
            yield batch

    def _make(self, step: int) -> Batch:
        parts = []
        for index, sampler in enumerate(self._samplers):
            random = sample_generator(self._seed, step, index)
            parts.append(_tensors(sampler.sample(random)))
        image, classes, valid = zip(*parts, strict=True)
        return torch.stack(image), torch.stack(classes), torch.stack(valid)


def _tensors(crop: Crop) -> Batch:
    return (
        torch.from_numpy(crop.image),
        torch.from_numpy(crop.classes).long(),
        torch.from_numpy(crop.valid),
    )
