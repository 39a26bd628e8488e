"""Whole-case predictions of prepared cases, for choosing and calibrating."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from e2miseg_core.inference.engine import TilePredictor, stream_probabilities
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.networks import NetworkConfig
from e2miseg_core.progress import Job, Progress, run
from e2miseg_core.training.prepare import PreparedCase

__all__ = ["case_probabilities", "mean_dice", "retold", "stream_case"]

T = TypeVar("T")

OVERLAP = 0.5  # as in prediction, so that what is chosen is what is used


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
    scores: list[float] = []
    for number, case in enumerate(cases, start=1):
        job = stream_case(network, config, case, device, precision)
        done = Progress(done=number - 1, total=len(cases), stage="validating")
        probabilities = yield from retold(job, done)
        predicted = probabilities.argmax(axis=0)
        for index in range(1, config.n_classes):
            mine, true = predicted == index, case.classes == index
            size = int(mine.sum() + true.sum())
            if size:
                scores.append(2 * int((mine & true).sum()) / size)
        yield Progress(done=number, total=len(cases), stage="validating")
    return float(np.mean(scores)) if scores else 0.0
