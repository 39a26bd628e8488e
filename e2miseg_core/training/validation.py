"""Predictions of prepared cases, for choosing and calibrating."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from e2miseg_core.inference.engine import (
    SlabSink,
    TilePredictor,
    stream_probabilities,
)
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.networks import NetworkConfig
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.comparison import SlabComparison, mean_ratio
from e2miseg_core.training.distributed import ALONE, Team
from e2miseg_core.training.patches import PatchSampler, Sample
from e2miseg_core.training.pictures import ShownSlice, middle_slice
from e2miseg_core.training.prepare import PreparedCase

__all__ = [
    "Validation",
    "Validator",
    "mean_dice",
    "retold",
    "stream_case",
    "wearing",
]

T = TypeVar("T")

OVERLAP = 0.5  # as in prediction, so that what is chosen is what is used
VALIDATION_SEED = 2**31  # of the patches: a step that no training reaches
FORCED_EVERY = 3  # patch that shows foreground, as in training


def stream_case(
    network: nn.Module,
    config: NetworkConfig,
    case: PreparedCase,
    device: torch.device,
    precision: str,
    keep: SlabSink,
) -> Job[None]:
    """Predict a prepared case, as a job that can be left alone after every tile.

    Parameters
    ----------
    network : nn.Module
        On `device`.
    config : NetworkConfig
    case : PreparedCase
    device : torch.device
    precision : str
    keep : callable
        Gets the probabilities slab by slab, as `keep(first_row, (n_classes, rows, Y,
        X))` with ascending rows; nothing holds them all.

    Yields
    ------
    Progress
    """
    network.eval()
    predictor = TilePredictor(network=network, device=device, precision=precision)
    grid = TileGrid(shape=case.shape, patch_size=config.patch_size, overlap=OVERLAP)
    yield from stream_probabilities(predictor, case, grid, config.n_classes, keep)


def retold(job: Job[T], step: Progress) -> Job[T]:
    """Another job as part of one step of ours."""
    while True:
        try:
            next(job)
        except StopIteration as end:
            value: T = end.value
            return value
        yield step


def mean_dice(
    network: nn.Module,
    config: NetworkConfig,
    cases: Sequence[PreparedCase],
    device: torch.device,
    precision: str,
) -> Job[float]:
    """Mean Dice over the foreground classes and cases.

    A class absent from both prediction and truth of a case does not count there.
    """
    validator = Validator(config, cases, device=device, precision=precision)
    return (yield from validator.look(network)).dice


@contextmanager
def wearing(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a network other weights for a while."""
    own = {k: v.detach().clone() for k, v in network.state_dict().items()}
    network.load_state_dict(weights)
    try:
        yield
    finally:
        network.load_state_dict(own)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """What a look at the selection cases gave.

    Attributes
    ----------
    dice : float
    shown : ShownSlice or None
        Of that with most foreground, where this process predicted any.
    """

    dice: float
    shown: ShownSlice | None


class Validator:
    """Dice of a network on the selection cases, shared out over a team.

    Parameters
    ----------
    config : NetworkConfig
    cases : sequence of PreparedCase
    device : torch.device
    precision : str
    patches : int
        Look at so many patches, the same each time and a third of them at foreground,
        and sum a class over all of them before taking its Dice, as nnU-Net does
        (specification A.6). 0: look at whole cases and average the Dice of each.
    seed : int
        Of the choice of patches.
    team : Team
    """

    def __init__(
        self,
        config: NetworkConfig,
        cases: Sequence[PreparedCase],
        *,
        device: torch.device,
        precision: str,
        patches: int = 0,
        seed: int = 0,
        team: Team = ALONE,
    ) -> None:
        self._config, self._cases = config, cases
        self._device, self._precision = device, precision
        self._patches, self._seed, self._team = patches, seed, team
        self._sampler = PatchSampler(cases, config.patch_size, FORCED_EVERY)

    def look(self, network: nn.Module) -> Job[Validation]:
        """Predict and compare.

        Yields
        ------
        Progress
            After every tile of a case, and every patch.
        """
        count = self._patches or len(self._cases)
        counts = np.zeros((count, self._config.n_classes - 1, 2))
        shown, most = None, -1
        mine = self._team.share(count)
        for number in mine:
            at = Progress(done=number - mine.start, total=len(mine), stage="validating")
            part = self._part(number)
            # The truth alone says what is shown: the prediction is not kept.
            size = sum(int(np.count_nonzero(plane)) for plane in part.classes)
            row = middle_slice(part.classes) if size > most else None
            found = SlabComparison(
                part.image[0], part.classes, self._config.n_classes, row
            )
            yield from retold(self._predict(network, part, found.add), at)
            counts[number] = found.counts
            if size > most:
                most, shown = size, found.shown
        yield Progress(done=len(mine), total=len(mine), stage="validating")
        total = self._team.sum(counts, self._device)
        if self._patches:
            total = total.sum(axis=0, keepdims=True)
        return Validation(dice=mean_ratio(total), shown=shown)

    def _part(self, number: int) -> PreparedCase | Sample:
        """A case, or a patch."""
        if not self._patches:
            return self._cases[number]
        random = np.random.default_rng([self._seed, VALIDATION_SEED, number])
        return self._sampler.sample(number % FORCED_EVERY, random)

    def _predict(
        self, network: nn.Module, part: PreparedCase | Sample, keep: SlabSink
    ) -> Job[None]:
        if isinstance(part, PreparedCase):
            yield from stream_case(
                network, self._config, part, self._device, self._precision, keep
            )
            return
        network.eval()
        predict = TilePredictor(
            network=network, device=self._device, precision=self._precision
        )
        keep(0, predict(np.ascontiguousarray(part.image)))
