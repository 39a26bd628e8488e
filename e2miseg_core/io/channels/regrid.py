"""A volume on the grid of another one, box by box.

Rules
-----
* A voxel of the target takes the value at its centre: by linear interpolation between
  the centres of the source's voxels, or of the nearest voxel for labels.
* The field of view of the source ends half a voxel beyond its outermost centres; within
  that half voxel the outermost value counts, farther out a stated constant.
* Where the source is finer than the target it is sampled, not averaged.

A voxel comes out the same, bit by bit, however the grid is cut into boxes.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box as Bounds
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.channels.relation import SNAP, snapped

__all__ = ["RegriddedChannel", "read_channel"]

_SOURCE_BYTES = 32 << 20  # of the source in memory at once
_TARGET_VOXELS = 1 << 20  # with their coordinates in memory at once


class RegriddedChannel:
    """One channel of a volume on another grid, read box by box.

    Parameters
    ----------
    data : dask array, shape (C, Z, Y, X)
        On the grid `source`.
    channel : int
        Which of its channels.
    source, target : Geometry
        In canonical orientation, in any units.
    nearest : bool
        For labels; else linear.
    outside : float
        Where the source has no value.

    Attributes
    ----------
    dtype : numpy.dtype
        Of what `read` returns: the source's for labels and float64, else float32.
    """

    def __init__(
        self,
        data: da.Array,
        channel: int,
        source: Geometry,
        target: Geometry,
        *,
        nearest: bool,
        outside: float = 0.0,
    ) -> None:
        self._data, self._channel = data, channel
        self._sizes = source.shape
        self._nearest = nearest
        self._outside = outside
        from_index = target.in_unit(source.unit).affine
        matrix = np.linalg.solve(source.affine, from_index)
        self._matrix, self._offset = matrix[:3, :3], matrix[:3, 3]
        aside = np.abs(self._matrix - np.diag(np.diag(self._matrix)))
        # Axes that run along each other are interpolated one after another.
        self._is_aligned = bool((aside @ target.shape).max() < 1 / SNAP)
        keeps = nearest or data.dtype == np.float64
        self.dtype = data.dtype if keeps else np.dtype(np.float32)

    def read(self, box: Sequence[slice]) -> NDArray[Any]:
        """Return a box (Z, Y, X) of the target."""
        z, y, x = ((part.start, part.stop) for part in box)
        values = np.empty([stop - start for start, stop in (z, y, x)], self.dtype)
        self._fill(values, (z, y, x))
        return values

    def _fill(self, values: NDArray[Any], box: Bounds) -> None:
        """Fill a box, in halves where source and coordinates take too much room."""
        if not values.size:
            return
        needed = self._needed(box)
        if needed is None:
            values[...] = self._outside
            return
        nbytes = math.prod(stop - start for start, stop in needed)
        nbytes *= self._data.dtype.itemsize
        if values.size > 1 and (nbytes > _SOURCE_BYTES or values.size > _TARGET_VOXELS):
            axis = int(np.argmax(values.shape))
            half = values.shape[axis] // 2
            first = (slice(None),) * axis + (slice(None, half),)
            second = (slice(None),) * axis + (slice(half, None),)
            start, stop = box[axis]
            self._fill(values[first], _with(box, axis, (start, start + half)))
            self._fill(values[second], _with(box, axis, (start + half, stop)))
            return
        block = read_channel(
            self._data, self._channel, [slice(start, stop) for start, stop in needed]
        )
        starts = np.array([start for start, _ in needed])
        resample = self._along_axes if self._is_aligned else self._at_points
        resample(values, block, starts, box)

    def _needed(self, box: Bounds) -> Bounds | None:
        """Source voxels around a box; None if it lies outside."""
        ends = [(start, stop - 1) for start, stop in box]
        corners = np.array(list(itertools.product(*ends)), np.float64)
        places = corners @ self._matrix.T + self._offset
        low, high = np.floor(places.min(axis=0)), np.ceil(places.max(axis=0))
        bounds = []
        for first, last, size in zip(low, high, self._sizes, strict=True):
            if last + 1 < 0 or first - 1 > size:
                return None
            start = min(max(int(first) - 1, 0), size - 1)
            bounds.append((start, max(start + 1, min(int(last) + 2, size))))
        z, y, x = bounds
        return z, y, x

    def _along_axes(
        self,
        values: NDArray[Any],
        block: NDArray[Any],
        starts: NDArray[np.int_],
        box: Bounds,
    ) -> None:
        block = block if self._nearest else block.astype(self.dtype, copy=False)
        inside = []
        for axis, bounds in enumerate(box):
            step, offset = self._matrix[axis, axis], self._offset[axis]
            places = snapped(np.arange(*bounds) * step + offset)
            last = self._sizes[axis] - 1
            inside.append((places >= -0.5) & (places <= last + 0.5))
            places = np.clip(places, 0, last)
            if self._nearest:
                lower = np.floor(places + 0.5).astype(np.int64).clip(0, last)
                block = np.take(block, _within(lower, starts, block, axis), axis)
                continue
            lower = np.floor(places).astype(np.int64)
            upper = np.minimum(lower + 1, last)
            shape = [1, 1, 1]
            shape[axis] = -1
            weight = (places - lower).astype(self.dtype).reshape(shape)
            one = np.take(block, _within(lower, starts, block, axis), axis)
            other = np.take(block, _within(upper, starts, block, axis), axis)
            # Where nothing of the neighbour counts, its NaN must not either.
            block = np.where(weight == 0, one, one + weight * (other - one))
        known = inside[0][:, None, None] & inside[1][:, None] & inside[2]
        values[...] = np.where(known, block, values.dtype.type(self._outside))

    def _at_points(
        self,
        values: NDArray[Any],
        block: NDArray[Any],
        starts: NDArray[np.int_],
        box: Bounds,
    ) -> None:
        z, y, x = np.ogrid[tuple(slice(*bounds) for bounds in box)]
        known = np.ones(values.shape, bool)
        points = np.empty((3, *values.shape))
        for axis in range(3):
            row = self._matrix[axis]
            places = row[0] * z + (row[1] * y + (row[2] * x + self._offset[axis]))
            places = snapped(places)
            last = self._sizes[axis] - 1
            known &= (places >= -0.5) & (places <= last + 0.5)
            places = np.clip(places, 0, last)
            if self._nearest:
                places = np.floor(places + 0.5)
            points[axis] = places - starts[axis]
        if self._nearest:
            index = points.astype(np.int64)
            tops = np.array(block.shape).reshape(3, 1, 1, 1) - 1
            index = np.clip(index, 0, tops)  # only where nothing is known
            found = block[tuple(index)]
        else:
            floats = block.astype(self.dtype, copy=False)
            from scipy import ndimage  # slow to import, and seldom needed

            found = ndimage.map_coordinates(floats, points, order=1, mode="nearest")
        values[...] = np.where(known, found, values.dtype.type(self._outside))


def read_channel(data: da.Array, channel: int, box: Sequence[slice]) -> NDArray[Any]:
    """Read a box (Z, Y, X) of a channel of an array (C, Z, Y, X), and no more.

    For tasks of dask's: the other threads are taken already.
    """
    # In one step: dask reads whole chunks where an array is cut twice.
    part = data[(slice(channel, channel + 1), *box)]
    block: NDArray[Any] = np.asarray(part.compute(scheduler="synchronous"))
    values: NDArray[Any] = block[0]
    return values


def _with(box: Bounds, axis: int, bounds: tuple[int, int]) -> Bounds:
    changed = list(box)
    changed[axis] = bounds
    z, y, x = changed
    return z, y, x


def _within(
    places: NDArray[np.int64], starts: NDArray[np.int_], block: NDArray[Any], axis: int
) -> NDArray[np.int64]:
    """Turn indices of the source into those of a block; unknown ones are clipped."""
    local: NDArray[np.int64] = np.clip(places - starts[axis], 0, block.shape[axis] - 1)
    return local
