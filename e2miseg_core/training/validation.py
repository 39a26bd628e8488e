"""Predictions of prepared cases, for choosing and calibrating."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2miseg_core.boxes import box_slices, make_box
from e2miseg_core.inference.engine import TilePredictor, stream_probabilities
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.networks import NetworkConfig
from e2miseg_core.progress import Job, Progress, run
from e2miseg_core.training.distributed import ALONE, Team
from e2miseg_core.training.patches import PatchSampler, Sample
from e2miseg_core.training.pictures import ShownCase
from e2miseg_core.training.prepare import PreparedCase

__all__ = [
    "Validation",
    "Validator",
    "case_probabilities",
    "mean_dice",
    "retold",
    "stream_case",
    "wearing",
]

T = TypeVar("T")

OVERLAP = 0.5  # as in prediction, so that what is chosen is what is used
VALIDATION_SEED = 2**31  # of the patches: a step that no training reaches
FORCED_EVERY = 3  # patch that shows foreground, as in training


def case_probabilities(
    network: nn.Module,
    config: NetworkConfig,
    case: PreparedCase,
    device: torch.device,
    precision: str,
) -> NDArray[np.float32]:
    """Probabilities (n_classes, Z, Y, X) of a prepared case."""
    return run(stream_case(network, config, case, device, precision))


def stream_case(
    network: nn.Module,
    config: NetworkConfig,
    case: PreparedCase,
    device: torch.device,
    precision: str,
) -> Job[NDArray[np.float32]]:
    """`case_probabilities` as a job: it can be left alone after every tile."""
    network.eval()
    found = np.empty((config.n_classes, *case.shape), np.float32)

    def keep(first: int, slab: NDArray[np.float32]) -> None:
        found[:, first : first + slab.shape[1]] = slab

    predictor = TilePredictor(network=network, device=device, precision=precision)
    grid = TileGrid(shape=case.shape, patch_size=config.patch_size, overlap=OVERLAP)
    yield from stream_probabilities(predictor, case, grid, config.n_classes, keep)
    return found


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
    shown : ShownCase or None
        One of them, where this process predicted any.
    """

    dice: float
    shown: ShownCase | None


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
        n_classes = self._config.n_classes
        counts = np.zeros((count, n_classes - 1, 2))  # 2 x overlap, volumes
        shown, most = None, -1
        mine = self._team.share(count)
        for number in mine:
            at = Progress(done=number - mine.start, total=len(mine), stage="validating")
            image, truth, probabilities = yield from retold(
                self._predicted(network, number), at
            )
            predicted = probabilities.argmax(axis=0)
            counts[number] = _class_counts(predicted, truth, n_classes)
            size = int((truth > 0).sum())
            if size > most:
                most, error = size, 1 - probabilities.max(axis=0)
                shown = ShownCase(
                    image=image, truth=truth, predicted=predicted, error=error
                )
        yield Progress(done=len(mine), total=len(mine), stage="validating")
        total = self._team.sum(counts, self._device)
        if self._patches:
            total = total.sum(axis=0, keepdims=True)
        return Validation(dice=_mean_ratio(total), shown=shown)

    def _predicted(
        self, network: nn.Module, number: int
    ) -> Job[tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]]:
        """First channel, classes and probabilities of a case or patch."""
        if not self._patches:
            case = self._cases[number]
            probabilities = yield from stream_case(
                network, self._config, case, self._device, self._precision
            )
            return case.image[0], case.classes, probabilities
        random = np.random.default_rng([self._seed, VALIDATION_SEED, number])
        sample = self._sampler.sample(number % FORCED_EVERY, random)
        image, classes = _centre(sample, self._config.patch_size)
        network.eval()
        predict = TilePredictor(
            network=network, device=self._device, precision=self._precision
        )
        return image[0], classes, predict(image)


def _centre(
    sample: Sample, patch_size: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image and classes of the patch in the middle of a sample with its margin."""
    start = [
        (n - p) // 2 for n, p in zip(sample.classes.shape, patch_size, strict=True)
    ]
    inner = box_slices(make_box(start, patch_size))
    return np.ascontiguousarray(sample.image[:, *inner]), sample.classes[inner]


def _class_counts(
    predicted: NDArray[np.intp], truth: NDArray[np.uint8], n_classes: int
) -> NDArray[np.float64]:
    """Twice the overlap and the sum of both volumes, of each foreground class."""
    rows = []
    for index in range(1, n_classes):
        mine, true = predicted == index, truth == index
        rows.append((2 * int((mine & true).sum()), int(mine.sum() + true.sum())))
    return np.array(rows, dtype=np.float64).reshape(n_classes - 1, 2)


def _mean_ratio(counts: NDArray[np.float64]) -> float:
    """Mean Dice where there is a volume; 0 where there is none at all."""
    overlap, volume = counts[..., 0], counts[..., 1]
    present = volume > 0
    return float((overlap[present] / volume[present]).mean()) if present.any() else 0.0
