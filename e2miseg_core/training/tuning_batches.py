"""The batches of a fine-tuning: corrections and memory, changed as in training."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from e2miseg_core.model_card import ModelCard
from e2miseg_core.training.augment import Augmentation
from e2miseg_core.training.batches import recipe_augmentation
from e2miseg_core.training.patches import Sample, sample_generator
from e2miseg_core.training.recipe import Recipe

__all__ = ["Batch", "Sampler", "TuningBatches", "augmentation_as_trained"]

Batch = tuple[Tensor, Tensor, Tensor]  # image, classes, which voxels count


class Sampler(Protocol):
    """Gives random samples."""

    def sample(self, random: np.random.Generator) -> Sample:
        """One sample with its margin."""
        ...


class TuningBatches:
    """Makes the batch of a step; the same whenever it is made.

    Parameters
    ----------
    samplers : sequence of Sampler
        One for each patch of a batch.
    augment : Augmentation
    seed : int
    """

    def __init__(
        self, samplers: Sequence[Sampler], augment: Augmentation, seed: int
    ) -> None:
        self._samplers, self._augment, self._seed = samplers, augment, seed

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
            parts.append(self._augment.with_valid(sampler.sample(random), random))
        image, classes, valid = zip(*parts, strict=True)
        return torch.stack(image), torch.stack(classes), torch.stack(valid)


def augmentation_as_trained(card: ModelCard) -> Augmentation:
    """The augmentation of a model's first training, by its card.

    A card without a recipe, as other programs write it, gets the list of nnU-Net and
    the axes that it says were mirrored.

    Raises
    ------
    ConfigError
        If the card's recipe is none that this version knows.
    """
    told, plan = card.training, card.training.get("plan", {})
    recipe = Recipe(
        epochs=1, iterations=1, mirror_axes=tuple(told.get("mirror_axes", ()))
    )
    if "recipe" in told:
        recipe = Recipe.from_json(told["recipe"])
    return recipe_augmentation(
        recipe,
        card.patch_size,
        dummy_2d=bool(plan.get("anisotropic", False)),
        normalizations=card.normalizations,
    )
