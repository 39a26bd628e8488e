"""Contrast limits from a small sample of a lazy volume."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.volume import Volume

__all__ = ["Contrast", "is_packed", "sampled_contrast"]

_Box: TypeAlias = tuple[tuple[int, int], ...]  # start and stop along Z, Y, X

_BOX_VOXELS = 1 << 18  # of each place that is looked at
_SMALL_VOXELS = 1 << 21  # fewer are all looked at
_SECONDS = 2.0  # then no further place is looked at
_PACKED_BYTES = 256 << 20  # a packed file of less is unpacked quickly
_LOW, _HIGH = 0.2, 99.8  # per cent
_FEW = 64  # different values; more labels than that are rare
_STRIDE = 101
# The middle, which is on screen first, then around it.
_PLACES = (
    (0.5, 0.5, 0.5),
    (0.25, 0.5, 0.5),
    (0.75, 0.5, 0.5),
    (0.5, 0.25, 0.25),
    (0.5, 0.75, 0.75),
)
_CT, _SUV = "CT", "SUV"  # what DICOM channels are called
# Hounsfield units: air is -1000, and no other kind of image has such a floor.
_AIR = (-3100.0, -900.0)
_SOFT_TISSUE = (-200.0, 300.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How to show a channel.

    Attributes
    ----------
    limits : tuple of float
        Values that are black and white, apart even for a constant image.
    range : tuple of float
        Smallest and largest value known; holds the limits.
    few_values : bool
        Whether there are few different values, all of them whole and none negative, as
        of labels.
    """

    limits: tuple[float, float]
    range: tuple[float, float]
    few_values: bool = False


def sampled_contrast(volume: Volume, channel: int) -> Contrast:
    """Contrast that shows most of a channel, from a few places in it.

    Parameters
    ----------
    volume : Volume
        Of any size.
    channel : int
        Which one.

    Returns
    -------
    Contrast
        From the 0.2nd to the 99.8th percentile; of PET in SUV from 0; of CT what shows
        soft tissue.

    Notes
    -----
    The coarsest level is read: wholly if it is small, else a part of at most five
    chunks, for at most two seconds after the first. Of a large packed file only the
    middle is read: it is the first plane shown, so it has to be unpacked anyway, and
    everything behind it does not.
    """
    level = volume.levels[-1][channel]  # (Z, Y, X)
    if is_packed(volume):
        boxes = [_box(level, _PLACES[0])]
    elif level.size <= _SMALL_VOXELS:
        boxes = [tuple((0, size) for size in level.shape)]
    else:
        # Two parts of one chunk would have it read twice.
        found = {_chunk(level, place): _box(level, place) for place in _PLACES[::-1]}
        boxes = list(found.values())[::-1]
    values = _sample(level, boxes)
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return Contrast(limits=(0.0, 1.0), range=(0.0, 1.0))
    low, high = _limits(finite, volume.channels[channel])
    known = (min(low, float(finite.min())), max(high, float(finite.max())))
    return Contrast(limits=(low, high), range=known, few_values=_are_few(finite))


def _are_few(values: NDArray[np.float64]) -> bool:
    for some in (values[::_STRIDE], values):  # most images are told by some of them
        whole = bool(some.min() >= 0 and np.all(some == np.floor(some)))
        if not whole or np.unique(some).size > _FEW:
            return False
    return True


def is_packed(volume: Volume) -> bool:
    """Whether a voxel can be had only by unpacking a lot of others first."""
    work = volume.preparation
    if work is not None:
        return work.done < work.total
    uri = volume.source.uri.partition("#")[0] if volume.source is not None else ""
    return uri.endswith(".gz") and volume.nbytes > _PACKED_BYTES


def _chunk(level: da.Array, place: Sequence[float]) -> tuple[int, ...]:
    """Indices of the chunk at a place."""
    return tuple(
        int(np.searchsorted(np.cumsum(sizes), int(at * (size - 1)), side="right"))
        for sizes, at, size in zip(level.chunks, place, level.shape, strict=True)
    )


def _box(level: da.Array, place: Sequence[float]) -> _Box:
    """Part of the chunk at a place that lies around it: whole planes if possible."""
    box: list[tuple[int, int]] = []
    left = _BOX_VOXELS
    chunk = _chunk(level, place)
    for axis in (2, 1, 0):  # the contiguous axis first
        at = int(place[axis] * (level.shape[axis] - 1))
        sizes = level.chunks[axis][: chunk[axis] + 1]
        stop, size = int(sum(sizes)), int(sizes[-1])
        taken = max(1, min(size, left))
        start = min(max(at - taken // 2, stop - size), stop - taken)
        box.insert(0, (start, start + taken))
        left //= taken
    return tuple(box)


def _sample(level: da.Array, boxes: Sequence[_Box]) -> NDArray[Any]:
    values: list[NDArray[Any]] = []
    started = 0.0
    for box in boxes:
        if values and time.monotonic() - started > _SECONDS:
            break
        where = tuple(slice(start, stop) for start, stop in box)
        values.append(np.asarray(level[where]).ravel())
        started = started or time.monotonic()
    return np.concatenate(values)


def _limits(finite: NDArray[np.float64], name: str) -> tuple[float, float]:
    """Limits for values that are numbers, of a channel of this name."""
    low, high = (float(edge) for edge in np.percentile(finite, (_LOW, _HIGH)))
    if low == high:  # a thin structure on a flat background
        low, high = float(finite.min()), float(finite.max())
    if name == _CT or (_AIR[0] <= low <= _AIR[1] and high > 0):
        return _SOFT_TISSUE
    if name.startswith(_SUV) and high > 0:
        low = 0.0
    return (low, high) if low < high else (low, low + 1.0)
