"""Bring slabs of the model's grid back to the volume's own grid, row by row."""

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box
from e2miseg_core.preprocess import axis_plan, resample_box

__all__ = ["SlabResampler"]

Triple = tuple[int, int, int]


class SlabResampler:
    """Linear resampling of a volume that arrives in slabs of ascending rows.

    Only rows that later output needs are kept. Where both grids are the same the
    slabs pass through untouched.

    Parameters
    ----------
    source_shape, target_shape : tuple of 3 int
        Voxels of the two grids, ZYX; their outer edges coincide.
    """

    def __init__(self, source_shape: Triple, target_shape: Triple) -> None:
        self.source_shape = source_shape
        self.target_shape = target_shape
        self._first_row = 0
        self._rows: NDArray[np.float32] | None = None
        self._next = 0  # first target row not given out yet

    def push(self, slab: NDArray[np.float32]) -> tuple[int, NDArray[np.float32]]:
        """Take the next rows (C, rows, Y, X); give out what has become final.

        Returns
        -------
        int
            First row given out, on the target grid.
        ndarray of float32, shape (C, rows, Y, X)
            Possibly of no rows.
        """
        if self.source_shape == self.target_shape:
            first, self._next = self._next, self._next + slab.shape[1]
            return first, slab
        held = slab if self._rows is None else np.concatenate([self._rows, slab], 1)
        known = self._first_row + held.shape[1]
        first, stop = self._next, self._final_rows(known)
        box: Box = (
            (first, stop),
            (0, self.target_shape[1]),
            (0, self.target_shape[2]),
        )

        def read(wanted: Box) -> NDArray[np.float32]:
            (z0, z1), (y0, y1), (x0, x1) = wanted
            return held[:, z0 - self._first_row : z1 - self._first_row, y0:y1, x0:x1]

        if stop > first:
            out = resample_box(read, self.source_shape, self.target_shape, box)
        else:
            out = np.zeros((held.shape[0], 0, *self.target_shape[1:]), np.float32)
        keep = min(known, max(self._first_row, self._first_needed(stop)))
        self._rows = held[:, keep - self._first_row :].copy()
        self._first_row, self._next = keep, stop
        return first, out

    def _needed(self, target_row: int) -> tuple[int, int]:
        """Source rows (start, stop) of one target row, by the interpolation's plan."""
        bounds = (target_row, target_row + 1)
        return axis_plan(self.source_shape[0], self.target_shape[0], bounds)[0]

    def _final_rows(self, known: int) -> int:
        """Target rows that need only the first `known` source rows."""
        stop = self._next
        # Asked row by row: a formula of its own would round differently in a tie.
        while stop < self.target_shape[0] and self._needed(stop)[1] <= known:
            stop += 1
        return stop

    def _first_needed(self, target_row: int) -> int:
        if target_row >= self.target_shape[0]:
            return self.source_shape[0]
        return self._needed(target_row)[0]
