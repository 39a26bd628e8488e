"""Whether every case can be used, before anything is planned or trained."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import DatasetError
from e2miseg_core.io.lazy import slab_thickness
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.case_files import open_case
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.survey import count_labels
from e2miseg_core.volume import Volume

__all__ = ["check_cases"]


def check_cases(
    dataset: Dataset, cases: Sequence[Case], unseen: Collection[str] = ()
) -> Job[None]:
    """Open every case, then read the labels of each once, and images of unseen ones.

    A damaged file of an unseen case is found before days of training, not after; the
    other images are read soon anyway. Nothing is measured and nothing kept, so what is
    unseen decides nothing.

    Parameters
    ----------
    dataset : Dataset
        Names channels and labels.
    cases : sequence of Case
    unseen : collection of str
        Names of the cases that are only reported on.

    Raises
    ------
    DatasetError
        If a case has other channels than the data set names, image and labels on
        different grids, or a label value that the data set does not name.
    ReadError
        If a file cannot be read.
    """
    opened = []
    for number, case in enumerate(cases, start=1):
        yield Progress(done=number, total=len(cases), stage="opening all cases")
        image, labels = open_case(case)
        _check_channels(case, image.n_channels, dataset)
        opened.append((case, image, labels))
    known = {0, *(label.value for label in dataset.labels)}
    for number, (case, image, labels) in enumerate(opened, start=1):
        yield Progress(done=number, total=len(cases), stage="reading all labels")
        _check_labels(case, labels, known)
        if case.name in unseen:
            for _ in _slabs(image):
                pass


def _check_channels(case: Case, found: int, dataset: Dataset) -> None:
    wanted = len(dataset.channels)
    if found == wanted:
        return
    missing = ""
    if found < wanted and max(len(other.images) for other in dataset.cases) > 1:
        missing = f": {case.name}_{found:04d} is missing"
    raise DatasetError(
        found=f"{found} of {wanted} channels in the case {case.name}{missing}"
        if missing
        else f"{found} channels in {case.name}",
        needed=f"{wanted}, as the data set names them ({', '.join(dataset.channels)})",
        do="add the missing channel"
        if missing
        else "name all channels in dataset.json, or by --channel",
    )


def _check_labels(case: Case, labels: Volume, known: Collection[int]) -> None:
    for slab in _slabs(labels):
        found = count_labels(slab)
        unknown = sorted(set(found) - set(known))
        if unknown:
            raise DatasetError(
                found=f"the label values {unknown[:5]} in {case.name}",
                needed=f"values out of {sorted(known)}",
                do="name them in dataset.json, or correct the labels",
            )


def _slabs(volume: Volume) -> Iterator[NDArray[Any]]:
    """All voxels, a few slices (Z, Y, X) at a time."""
    for channel in volume.data:
        step = slab_thickness(channel)
        for first in range(0, channel.shape[0], step):
            yield np.asarray(channel[first : first + step])
