"""Batches made ahead, so that the network does not wait for them."""

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from e2miseg_core.helper_threads import helper_pool
from e2miseg_core.preprocess import Normalization
from e2miseg_core.training.augment import (
    EHANET,
    FIRST,
    NNUNET,
    NNUNET_CODE,
    Augmentation,
    AugmentationRules,
)
from e2miseg_core.training.patches import PatchSampler, sample_generator
from e2miseg_core.training.recipe import Recipe

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "Batch",
    "BatchMaker",
    "batches_ahead",
    "batches_by_processes",
    "default_workers",
    "recipe_augmentation",
]

Batch = tuple[Tensor, Tensor]
MOST_WORKERS = 12


@dataclass(frozen=True, kw_only=True)
class BatchMaker:
    """A function from a step to its batch: image (N, C, Z, Y, X), classes (N, Z, Y, X).

    Attributes
    ----------
    sampler : PatchSampler
    augment : Augmentation
    seed : int
    samples : sequence of int
        Numbers, within the whole batch, of the samples to make.
    """

    sampler: PatchSampler
    augment: Augmentation
    seed: int
    samples: Sequence[int]

    def __call__(self, step: int) -> Batch:
        """Make the batch of a step, 0-based; the same whenever it is made."""
        pairs = []
        for index in self.samples:
            random = sample_generator(self.seed, step, index)
            pairs.append(self.augment(self.sampler.sample(index, random), random))
        images, classes = zip(*pairs, strict=True)
        return torch.stack(images), torch.stack(classes)


def recipe_augmentation(
    recipe: Recipe,
    patch_size: tuple[int, int, int],
    *,
    dummy_2d: bool = False,
    normalizations: Sequence[Normalization] = (),
) -> Augmentation:
    """The augmentation of a recipe, for patches of the plan.

    Parameters
    ----------
    recipe : Recipe
    patch_size : tuple of 3 int
        ZYX.
    dummy_2d : bool
        Turn and scale slices.
    normalizations : sequence of Normalization
        One a channel; those of what is not 0 keep their zeros.
    """
    rules = {
        "nnunet": NNUNET,
        "nnunet_code": NNUNET_CODE,
        "ehanet": EHANET,
        "first": FIRST,
        "none": AugmentationRules.none(),
    }[recipe.augmentation]
    return Augmentation(
        patch_size,
        recipe.mirrored_axes,
        dummy_2d=dummy_2d,
        zero_outside=[rule.nonzero for rule in normalizations],
        cubic=recipe.cubic,
        rules=rules,
    )


def default_workers(device: torch.device, team_size: int = 1) -> int:
    """How many batches are made at a time: one beside a processor, many for a GPU."""
    if device.type == "cpu":
        return 1
    free = (os.cpu_count() or 1) // team_size - 1
    return max(1, min(MOST_WORKERS, free))


def batches_ahead(
    make: Callable[[int], Batch], steps: range, device: torch.device, workers: int
) -> Generator[Batch, None, None]:
    """The batches of `steps` in order, the next ones made meanwhile.

    Parameters
    ----------
    make : callable
        Gives the batch of a step.
    steps : range
    device : torch.device
        Where they will be used. For a GPU, processes make them, since threads of one
        process take turns in Python; beside a processor, a thread does.
    workers : int
        Batches that are made at a time.
    """
    if device.type == "cuda" and sys.platform == "linux":
        return batches_by_processes(make, steps, workers)
    return _by_threads(make, steps, workers)


def _by_threads(
    make: Callable[[int], Batch], steps: range, workers: int
) -> Generator[Batch, None, None]:
    pool = helper_pool(workers, "batches")
    coming: deque[Future[Batch]] = deque()
    try:
        for step in steps:
            coming.append(pool.submit(make, step))
            if len(coming) > workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Steps(Dataset[Batch]):
    """Batches by step, as torch's loader wants them."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self._make = make

    def __getitem__(self, step: int) -> Batch:
        return self._make(step)


def batches_by_processes(
    make: Callable[[int], Batch], steps: range, workers: int
) -> Generator[Batch, None, None]:
    """`batches_ahead` by processes; on systems that can fork."""
    # Forked, they read the memory-mapped cases that are open already.
    loader = DataLoader(
        _Steps(make),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=2,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="fork",
    )
    yield from loader
