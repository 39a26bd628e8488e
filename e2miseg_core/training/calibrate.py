"""Calibration of a trained model on the selection cases."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.model import Model, load_model, save_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import Network
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project.jobs import UNFINISHED
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.run import TrainingRun
from e2miseg_core.training.validation import stream_case
from e2miseg_core.uncertainty.calibration import LabelledVoxels, fit_temperature

if TYPE_CHECKING:
    from e2miseg_core.inference.engine import SlabSink

__all__ = ["VoxelSample", "calibrate_as_stored", "calibrate_on"]

CALIBRATION_VOXELS = 500_000  # of a case, at most
ALL_VOXELS = 10_000_000  # of all cases together, at most
SAME_LABELS = 0.999  # share of voxels on which two precisions must agree


def calibrate_on(
    model: Model, run: TrainingRun, selection: Sequence[PreparedCase]
) -> Job[ModelCard]:
    """Fit the temperature and check the precision on the selection cases.

    Raises
    ------
    DatasetError
        If there is none.
    """
    network = model.network.to(run.device)
    precisions = tuple(dict.fromkeys(("float32", run.precision)))
    samples, equal = yield from _predicted(network, run, selection, precisions)
    if equal < SAME_LABELS:  # it will be predicted in float32: that is what counts
        precisions = ("float32",)
        samples, _ = yield from _predicted(network, run, selection, precisions)
    return replace(
        model.card,
        precisions=precisions,
        calibration={
            "temperature": round(fit_temperature(samples), 4),
            "cases": len(samples),
            "labels_equal_to_float32": round(equal, 6),
        },
    )


def _predicted(
    network: Network,
    run: TrainingRun,
    selection: Sequence[PreparedCase],
    precisions: tuple[str, ...],
) -> Job[tuple[list[LabelledVoxels], float]]:
    """Voxels in the last precision; the share of all whose labels are those in all."""
    samples = []
    same, total = 0, 0
    for number, case in enumerate(selection, start=1):
        step = Progress(done=number, total=len(selection), stage="calibrating")
        most = min(CALIBRATION_VOXELS, ALL_VOXELS // len(selection))
        kept = VoxelSample(case.classes, most, len(precisions))
        # Tile by tile in turns, so that no more than a slab waits for its like.
        jobs = [
            stream_case(network, run.config, case, run.device, precision, keep)
            for precision, keep in zip(precisions, kept.sinks, strict=True)
        ]
        for _ in zip(*jobs, strict=True):
            yield step
        samples.append(kept.sample())
        same, total = same + kept.n_same, total + case.classes.size
    return samples, same / total


def calibrate_as_stored(
    network: Network,
    card: ModelCard,
    run: TrainingRun,
    selection: Sequence[PreparedCase],
) -> Job[Model]:
    """The model as its file will have it, calibrated: what is examined is what is kept.

    Raises
    ------
    DatasetError
        If there is no selection case.
    WriteError
        If the run's folder cannot hold the model.
    """
    stored = run.folder / UNFINISHED
    try:
        save_model(network, card, stored)
        model = load_model(stored)
    finally:
        stored.unlink(missing_ok=True)
    return replace(model, card=(yield from calibrate_on(model, run, selection)))


class VoxelSample:
    """Every n-th voxel of a case: enough for one number, at bounded memory.

    Parameters
    ----------
    classes : ndarray of uint8, shape (Z, Y, X)
        True class indices; may be memory-mapped.
    most : int
        Voxels to keep.
    n_precisions : int
        1, or 2 whose labels are compared; the voxels are those of the last.

    Attributes
    ----------
    n_same : int
        Voxels so far to which both precisions give one label; all, of one precision.
    """

    def __init__(
        self, classes: NDArray[np.uint8], most: int, n_precisions: int
    ) -> None:
        self.n_same = 0
        self._classes, self._step = classes, 1 + classes.size // most
        self._first: NDArray[np.intp] | None = None
        self._kept: list[LabelledVoxels] = []
        self.sinks: tuple[SlabSink, ...] = (self._hold, self._add)[-n_precisions:]

    def sample(self) -> LabelledVoxels:
        """Probabilities (n_classes, voxels) and true classes (voxels,)."""
        probabilities, classes = zip(*self._kept, strict=True)
        return np.concatenate(probabilities, axis=1), np.concatenate(classes)

    def _hold(self, _first: int, slab: NDArray[np.float32]) -> None:
        self._first = slab.argmax(axis=0)

    def _add(self, first: int, slab: NDArray[np.float32]) -> None:
        labels = slab.argmax(axis=0)
        held = labels if self._first is None else self._first
        self.n_same += int(np.count_nonzero(labels == held))
        rows = self._classes[first : first + labels.shape[0]]
        start = -(first * rows[0].size) % self._step if rows.size else 0
        where = slice(start, None, self._step)  # of the whole case's voxels in a row
        self._kept.append(
            (
                slab.reshape(slab.shape[0], -1)[:, where].copy(),
                rows.reshape(-1)[where].copy(),
            )
        )
