"""Calibration of a trained model on the selection cases."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.model import Model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.run import TrainingRun
from e2miseg_core.training.validation import case_probabilities
from e2miseg_core.uncertainty.calibration import fit_temperature

__all__ = ["calibrate_on"]

CALIBRATION_VOXELS = 500_000  # of a case, at most
SAME_LABELS = 0.999  # share of voxels on which two precisions must agree


def calibrate_on(
    model: Model, run: TrainingRun, selection: Sequence[PreparedCase]
) -> Job[ModelCard]:
    """Fit the temperature and check the precision on the selection cases."""
    network = model.network.to(run.device)
    pairs = []
    same, total = 0, 0
    precisions = dict.fromkeys(("float32", run.precision))
    for number, case in enumerate(selection, start=1):
        yield Progress(done=number, total=len(selection), stage="calibrating")
        by_precision = [
            case_probabilities(network, run.config, case, run.device, precision)
            for precision in precisions
        ]
        first, last = (p.argmax(axis=0) for p in (by_precision[0], by_precision[-1]))
        same, total = same + int((first == last).sum()), total + first.size
        pairs.append(_sampled(by_precision[-1], case.classes))
    agreed = same / total >= SAME_LABELS
    return replace(
        model.card,
        precisions=tuple(precisions) if agreed else ("float32",),
        calibration={
            "temperature": round(fit_temperature(pairs), 4),
            "cases": len(pairs),
            "labels_equal_to_float32": round(same / total, 6),
        },
    )


def _sampled(
    probabilities: NDArray[np.float32], classes: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Every n-th voxel of a case: enough for one number, at bounded memory."""
    step = 1 + classes.size // CALIBRATION_VOXELS
    flat = probabilities.reshape(probabilities.shape[0], -1)
    return flat[:, ::step].copy(), classes.reshape(-1)[::step].copy()
