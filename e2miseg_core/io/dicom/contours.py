"""Closed contours as masks: a voxel is inside if its centre is.

Everything is counted, never drawn: along a row, an edge of a polygon toggles all voxels
whose centres lie at it or beyond it. What two contours of one depth both enclose is a
hole, and so is what a keyhole (two coinciding edges) leads to. A centre that lies
exactly on an edge belongs to the side of larger index: neighbours share no voxel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.lazy import Box

__all__ = ["ContourPixels", "PlaneContours", "fill"]

_EDGES = 1 << 12  # worked on at a time, each with at most as many crossings as rows


@dataclass(frozen=True, eq=False, kw_only=True)
class PlaneContours:
    """What one structure has in one plane.

    Attributes
    ----------
    channel : int
        Of the volume.
    value : int
        That voxels inside get.
    polygons : sequence of ndarray, shape (n, 2)
        Corners (row, column) in voxels, as fractions; the last is joined to the first.
    """

    channel: int
    value: int
    polygons: Sequence[NDArray[np.float64]]


@dataclass(frozen=True, eq=False, kw_only=True)
class ContourPixels:
    """Contours as voxels, filled when they are asked for: a `DiskArray`.

    Attributes
    ----------
    shape : tuple of int
        Channels, planes, rows, columns.
    dtype : numpy.dtype
        Of the voxels.
    planes : mapping of int to tuple of PlaneContours
        Those with contours.
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    planes: Mapping[int, tuple[PlaneContours, ...]]

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box (C, Z, Y, X)."""
        channels, depth, rows, columns = box
        out = np.zeros([part.stop - part.start for part in box], dtype=self.dtype)
        for plane in range(depth.start, depth.stop):
            for found in self.planes.get(plane, ()):
                if channels.start <= found.channel < channels.stop:
                    target = out[found.channel - channels.start, plane - depth.start]
                    target[fill(found.polygons, rows, columns)] = found.value
        return out

    def has_overlap(self) -> bool:
        """Whether two structures share a voxel; looks where they share a plane."""
        rows, columns = slice(0, self.shape[2]), slice(0, self.shape[3])
        for contours in self.planes.values():
            if len(contours) < 2:
                continue
            taken = np.zeros(self.shape[2:], dtype=bool)
            for found in contours:
                mask = fill(found.polygons, rows, columns)
                if np.any(taken & mask):
                    return True
                taken |= mask
        return False


def fill(
    polygons: Sequence[NDArray[np.float64]], rows: slice, columns: slice
) -> NDArray[np.bool_]:
    """Tell which voxels of a part of a plane are inside an odd number of polygons.

    Parameters
    ----------
    polygons : sequence of ndarray, shape (n, 2)
        Corners (row, column), in voxels.
    rows, columns : slice
        The part.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        By the even-odd rule, over all polygons together.
    """
    inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    if not len(polygons):
        return inside
    corners = np.concatenate(polygons) - [rows.start, columns.start]
    # Nothing is inside beyond the corners.
    low = np.clip(np.ceil(corners.min(axis=0)), 0, inside.shape).astype(int)
    high = np.clip(np.floor(corners.max(axis=0)) + 1, low, inside.shape).astype(int)
    height, width = (high - low).tolist()
    toggles = np.zeros(height * (width + 1), dtype=np.int64)
    for polygon in polygons:
        start = polygon - [rows.start, columns.start] - low
        end = np.roll(start, -1, axis=0)
        for first in range(0, len(start), _EDGES):
            part = slice(first, first + _EDGES)
            where = _crossings(start[part], end[part], height, width)
            toggles += np.bincount(where, minlength=len(toggles))
    counts = np.cumsum(toggles.reshape(height, width + 1)[:, :width], axis=1)
    inside[low[0] : high[0], low[1] : high[1]] = counts % 2 == 1
    return inside


def _crossings(
    start: NDArray[np.float64], end: NDArray[np.float64], height: int, width: int
) -> NDArray[np.int64]:
    """Tell the first voxel at or beyond each edge, in each row that the edge crosses.

    An edge from row a to row b (a < b) crosses the rows a <= row < b.
    """
    lower = np.where((start[:, 0] <= end[:, 0])[:, None], start, end)
    upper = np.where((start[:, 0] <= end[:, 0])[:, None], end, start)
    low = np.clip(np.ceil(lower[:, 0]), 0, height).astype(np.int64)
    high = np.clip(np.ceil(upper[:, 0]), 0, height).astype(np.int64)
    counts = high - low
    edge = np.repeat(np.arange(len(counts)), counts)
    begin = np.repeat(np.cumsum(counts) - counts, counts)
    row = np.arange(len(edge)) - begin + low[edge]
    slope = (row - lower[edge, 0]) / (upper[edge, 0] - lower[edge, 0])
    column = lower[edge, 1] + slope * (upper[edge, 1] - lower[edge, 1])
    first = np.clip(np.ceil(column), 0, width).astype(np.int64)
    where: NDArray[np.int64] = row * (width + 1) + first
    return where
