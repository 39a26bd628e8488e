"""Cases of a model's first training, for a fine-tuning not to forget them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError
from e2miseg_core.model_card import ModelCard
from e2miseg_core.progress import Job, Progress
from e2miseg_core.samples.dataset import MOST_CASES
from e2miseg_core.samples.phantom import generate_phantom
from e2miseg_core.training.case_files import open_case
from e2miseg_core.training.crops import Crop
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.training.patches import PatchSampler
from e2miseg_core.training.prepare import (
    ModelGrid,
    PreparedCase,
    prepare_volume,
)
from e2miseg_core.training.validation import retold
from e2miseg_core.volume import Volume

__all__ = ["CaseSampler", "Replay", "can_replay", "prepare_replay"]

N_TRAINING = 6  # cases learnt from again: enough not to be learnt by heart
N_TEST = 4
AGAIN = 0.5  # of the patches, where anything is being forgotten
Opener = Callable[[], tuple[Volume, Volume]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Cases to learn from again, and others that test the new model.

    `tested` are cases that chose the old model's weights, which it was not trained on.
    """

    training: tuple[PreparedCase, ...] = ()
    tested: tuple[PreparedCase, ...] = ()


class CaseSampler:
    """Random patches of whole cases, every other one at foreground.

    Once it is told what is being forgotten, every other patch shows that.

    Parameters
    ----------
    cases : sequence of PreparedCase
    patch_size : tuple of 3 int
    """

    def __init__(
        self, cases: Sequence[PreparedCase], patch_size: tuple[int, int, int]
    ) -> None:
        self.cases = tuple(cases)
        self._patch_size = patch_size
        # Of a batch of 2 the second patch shows foreground.
        self._sampler = PatchSampler(cases, patch_size, batch_size=2)
        self._again: list[PatchSampler] = []
        self._shares: list[float] = []

    def show_again(self, voxels: Sequence[NDArray[np.intp]]) -> None:
        """From now on, show these voxels (n, 3) of each case; each is as likely."""
        counts = [len(found) for found in voxels]
        self._shares = [n / sum(counts) for n in counts if n]
        self._again = [
            PatchSampler(
                [replace(case, foreground=(found,))], self._patch_size, batch_size=2
            )
            for case, found in zip(self.cases, voxels, strict=True)
            if len(found)
        ]

    def sample(self, random: np.random.Generator) -> Crop:
        """One patch; all of it counts."""
        if self._again and random.random() < AGAIN:
            index = int(random.choice(len(self._again), p=self._shares))
            shown = self._again[index].sample(1, random)
        else:
            shown = self._sampler.sample(int(random.integers(2)), random)
        counts = np.ones(shown.classes.shape, np.bool_)
        return Crop(image=shown.image, classes=shown.classes, valid=counts)


def can_replay(card: ModelCard) -> bool:
    """Whether the card says how to make the training cases again."""
    return _generator(card) is not None


def prepare_replay(card: ModelCard, dataset: Path | None, folder: Path) -> Job[Replay]:
    """Bring some cases of the first training to the model's grid.

    Parameters
    ----------
    card : ModelCard
        Its `training["replay"]` may say how the cases are made.
    dataset : Path or None
        Folder of the data set instead; it holds cases that the card names.
    folder : Path
        Where they are kept; what is there already is read.

    Returns
    -------
    Replay
        Empty where the cases cannot be had.

    Raises
    ------
    ConfigError
        If the data set holds no case that the card names.
    """
    training = _spread(card.training.get("training", ()), N_TRAINING)
    tested = _spread(card.training.get("selection", ()), N_TEST)
    if dataset is not None:
        openers = _from_dataset(card, dataset)
        training, tested = (
            _spread([n for n in card.training.get(part, ()) if n in openers], count)
            for part, count in (("training", N_TRAINING), ("selection", N_TEST))
        )
    else:
        openers = _from_generator(card, [*training, *tested])
    if not openers:
        return Replay()
    grid = ModelGrid(
        values=tuple(label.value for label in card.labels),
        spacing=card.spacing,
        normalizations=card.normalizations,
    )
    prepared: dict[str, PreparedCase] = {}
    names = [*training, *tested]
    for number, name in enumerate(names):
        step = Progress(done=number, total=len(names), stage="preparing")
        yield step
        origin = [name, str(dataset), card.training.get("replay")]
        job = prepare_volume(
            name, openers[name], grid=grid, origin=origin, folder=folder
        )
        prepared[name] = yield from retold(job, step)
    return Replay(
        training=tuple(prepared[name] for name in training),
        tested=tuple(prepared[name] for name in tested),
    )


def _generator(card: ModelCard) -> Mapping[str, Any] | None:
    recipe = card.training.get("replay")
    known = isinstance(recipe, Mapping) and recipe.get("generator") == "phantoms"
    return recipe if known and isinstance(recipe, Mapping) else None


def _from_generator(card: ModelCard, names: Sequence[str]) -> dict[str, Opener]:
    recipe = _generator(card)
    if recipe is None:
        return {}
    first = (int(recipe["seed"]) + 1) * MOST_CASES
    return {name: partial(_phantom, first + int(name[-4:])) for name in names}


def _phantom(seed: int) -> tuple[Volume, Volume]:
    phantom = generate_phantom(seed)
    image, labels = (
        Volume.from_array(array, phantom.geometry)
        for array in (phantom.image, phantom.labels)
    )
    return image, labels


def _from_dataset(card: ModelCard, folder: Path) -> dict[str, Opener]:
    names = {label.value: label.name for label in card.labels}
    found = {c.name: c for c in find_dataset(folder, label_names=names).cases}
    wanted = card.training.get("training", ())
    if not any(name in found for name in wanted):
        raise ConfigError(
            found=f"no case in {folder} that the model {card.name!r} was trained on",
            needed="its training set, such as " + ", ".join(wanted[:3]),
            do="name that folder, or leave --replay out",
        )
    return {name: partial(open_case, case) for name, case in found.items()}


def _spread(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Some of the names, evenly over their order."""
    if len(names) <= count:
        return tuple(names)
    return tuple(names[round(i * (len(names) - 1) / (count - 1))] for i in range(count))
