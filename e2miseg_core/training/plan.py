"""What a training set decides: the model's spacing and intensity normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from e2miseg_core.io import open_volume
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.prepare import open_case

__all__ = ["TrainingPlan", "plan_training"]

CT_CASES = 20  # cases whose foreground is looked at for the clipping range
CT_VOXELS = 100_000  # of each of them, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """Spacing (ZYX, mm) and normalisation (one a channel) of the model."""

    spacing: tuple[float, float, float]
    normalizations: tuple[Normalization, ...]


def plan_training(dataset: Dataset, cases: Sequence[Case]) -> Job[TrainingPlan]:
    """Choose spacing and normalisation from the training cases.

    The spacing is the median of the cases'. A channel named CT is clipped to the 0.5
    and 99.5 percentiles of the foreground and scaled by its mean and standard
    deviation; every other channel is z-scored case by case. These are nnU-Net's rules
    (specification A.6) without the crop to the non-zero box and without the 10th
    percentile for the coarse axis of anisotropic sets.
    """
    spacings = []
    for number, case in enumerate(cases, start=1):
        yield Progress(done=number, total=len(cases), stage="reading headers")
        spacings.append(open_volume(case.images[0]).geometry.in_unit("mm").spacing)
    z, y, x = (float(f"{s:.6g}") for s in np.median(np.array(spacings), axis=0))
    normalizations = []
    for channel, name in enumerate(dataset.channels):
        if name.strip().lower().startswith("ct"):
            normalizations.append((yield from _foreground_range(cases, channel)))
        else:
            normalizations.append(Normalization())
    return TrainingPlan(spacing=(z, y, x), normalizations=tuple(normalizations))


def _foreground_range(cases: Sequence[Case], channel: int) -> Job[Normalization]:
    samples = []
    chosen = cases[:CT_CASES]
    for number, case in enumerate(chosen, start=1):
        yield Progress(done=number, total=len(chosen), stage="reading foreground")
        image, labels = open_case(case)
        mask = np.asarray(labels.data[0]) > 0
        values = np.asarray(image.data[channel])[mask]
        values = values[np.isfinite(values)]
        samples.append(values[:: 1 + values.size // CT_VOXELS].astype(np.float64))
    foreground = np.concatenate(samples)
    if foreground.size < 2:
        return Normalization()  # no foreground to learn a range from
    low, high = np.percentile(foreground, [0.5, 99.5])
    return Normalization(
        scheme="clipped",
        low=float(low),
        high=float(high),
        mean=float(foreground.mean()),
        std=float(foreground.std()) or 1.0,
    )
