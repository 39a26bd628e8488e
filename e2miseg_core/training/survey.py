"""Read a training set once, at constant memory, for its fingerprint."""

from collections.abc import Iterator, Sequence
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, bounding_box, box_of_mask, make_box, whole_box
from e2miseg_core.errors import DatasetError
from e2miseg_core.io.lazy import slab_thickness
from e2miseg_core.io.stated_spacing import has_assumed_spacing
from e2miseg_core.preprocess import nonzero_mask
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.case_files import open_case, origin_of
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.fingerprint import (
    CaseFingerprint,
    Fingerprint,
    ForegroundIntensities,
)

__all__ = ["count_labels", "take_fingerprint"]

MAX_SAMPLES = 4_000_000  # foreground voxels kept of the whole set
CASE_SAMPLES = 100_000  # and of one case, at most


def take_fingerprint(
    dataset: Dataset, cases: Sequence[Case], *, seed: int = 12345
) -> Job[Fingerprint]:
    """Read every case once, slab by slab.

    Parameters
    ----------
    dataset : Dataset
        Names the channels.
    cases : sequence of Case
        At least one; those that a network learns from.
    seed : int
        Chooses the foreground voxels whose intensities are kept.

    Raises
    ------
    DatasetError
        If image and labels of a case lie on different grids, or a case has other
        channels than the data set names.
    """
    n_kept = max(1, min(CASE_SAMPLES, MAX_SAMPLES // len(cases)))
    found, intensities = [], []
    for number, case in enumerate(cases, start=1):
        yield Progress(done=number, total=len(cases), stage="looking at the cases")
        random = np.random.default_rng([seed, number])
        sample = _VoxelSample(n_kept, len(dataset.channels), random)
        found.append(_look_at(case, sample))
        intensities.append(sample.values)
    seen: NDArray[np.float32] = np.concatenate(intensities)
    return Fingerprint(
        cases=tuple(found),
        channels=dataset.channels,
        foreground=tuple(_describe(seen[:, c]) for c in range(len(dataset.channels))),
        files=tuple(origin_of(case) for case in cases),
    )


class _VoxelSample:
    """Some of the labelled voxels, each as likely as any other.

    Every voxel draws a number and those with the smallest are kept, so the sample does
    not depend on how a volume was cut into slabs.
    """

    def __init__(self, size: int, n_channels: int, random: np.random.Generator) -> None:
        self._size, self._random = size, random
        self._keys = np.zeros(0)
        self.values = np.zeros((0, n_channels), np.float32)  # (voxels, channels)

    def add(self, plane: NDArray[Any], labelled: NDArray[np.bool_]) -> None:
        """Offer the labelled voxels of a plane (C, Y, X)."""
        places = np.flatnonzero(labelled)
        drawn = self._random.random(len(places))
        if len(self._keys) == self._size:
            smaller = drawn < self._keys.max()
            places, drawn = places[smaller], drawn[smaller]
        if not len(places):
            return
        values = plane.reshape(len(plane), -1)[:, places].T.astype(np.float32)
        keys = np.concatenate((self._keys, drawn))
        values = np.concatenate((self.values, values))
        if len(keys) > self._size:
            kept = np.sort(np.argpartition(keys, self._size)[: self._size])
            keys, values = keys[kept], values[kept]
        self._keys, self.values = keys, values


def _look_at(case: Case, sample: _VoxelSample) -> CaseFingerprint:
    image, labels = open_case(case)
    n_channels = sample.values.shape[1]
    if image.n_channels != n_channels:
        raise DatasetError(
            found=f"{image.n_channels} channels in {case.name}",
            needed=f"{n_channels}, as the data set names them",
            do="name all channels in dataset.json, or by --channel",
        )
    boxes: list[Box] = []
    voxels: dict[int, int] = {}
    for frame, block, classes in _slabs(image.data, labels.data[0]):
        inside = nonzero_mask(block)
        box = box_of_mask(inside, frame)
        boxes += [] if box is None else [box]
        for value, count in count_labels(classes).items():
            voxels[value] = voxels.get(value, 0) + count
        for plane, labelled in zip(np.moveaxis(block, 1, 0), classes != 0, strict=True):
            sample.add(plane, labelled)
    shape = image.geometry.shape
    return CaseFingerprint(
        name=case.name,
        shape=shape,
        spacing=image.geometry.in_unit("mm").spacing,
        box=bounding_box(boxes) if boxes else whole_box(shape),
        voxels=voxels,
        assumed_spacing=has_assumed_spacing(image.notes),
    )


def count_labels(classes: NDArray[Any]) -> dict[int, int]:
    """Voxels of each label but 0 in an array."""
    if classes.dtype in (np.uint8, np.uint16):  # many times as fast as sorting
        counts = np.bincount(classes.ravel())
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(classes, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return {int(value): count for value, count in pairs if value}


def _slabs(
    image: da.Array, labels: da.Array
) -> Iterator[tuple[Box, NDArray[Any], NDArray[Any]]]:
    """Box, image (C, z, Y, X) and labels (z, Y, X) of each slab, in ascending Z."""
    depth, height, width = labels.shape
    step = max(1, slab_thickness(image) // image.shape[0])
    for first in range(0, depth, step):
        rows = slice(first, min(first + step, depth))
        frame = make_box((first, 0, 0), (rows.stop - first, height, width))
        yield frame, np.asarray(image[:, rows]), np.asarray(labels[rows])


def _describe(values: NDArray[np.float32]) -> ForegroundIntensities | None:
    values = values[np.isfinite(values)]
    if values.size < 2:
        return None  # no foreground to learn from
    low, median, high = np.percentile(values, [0.5, 50, 99.5])
    return ForegroundIntensities(
        mean=float(values.mean(dtype=np.float64)),
        std=float(values.std(dtype=np.float64)),
        median=float(median),
        minimum=float(values.min()),
        maximum=float(values.max()),
        low=float(low),
        high=float(high),
    )
