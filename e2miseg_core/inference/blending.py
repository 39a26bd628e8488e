"""Blend overlapping tiles and give rows out as soon as no tile can change them."""

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import clip_box, make_box, slices_within
from e2miseg_core.inference.tiling import TileGrid

__all__ = ["SlabBlender"]

Triple = tuple[int, int, int]


class SlabBlender:
    """Weighted mean of tiles, held only for the rows that are still open.

    Tiles come layer by layer in ascending z, so that rows below the next layer's
    start are final: memory is one patch of rows, whatever the volume's depth.

    Parameters
    ----------
    grid : TileGrid
    n_channels : int
        Channels of each tile.
    """

    def __init__(self, grid: TileGrid, n_channels: int) -> None:
        self.grid = grid
        self._weight = grid.tile_weight()
        self._axis_weights = [grid.axis_weight(axis) for axis in range(3)]
        self._first_row = 0  # of the window, in the volume
        self._window = np.zeros(
            (n_channels, 0, grid.shape[1], grid.shape[2]), np.float32
        )

    def add(self, tile: NDArray[np.float32], start: Triple) -> None:
        """Add a tile (n_channels, *patch_size) whose first voxel is `start`."""
        whole = make_box(start, self.grid.patch_size)
        inside = clip_box(whole, self.grid.shape)
        self._grow(inside[0][1])
        z, y, x = slices_within(inside, whole)
        weighted = (tile * self._weight)[:, z, y, x]
        rows = slice(*(row - self._first_row for row in inside[0]))
        self._window[:, rows, slice(*inside[1]), slice(*inside[2])] += weighted

    def finish(self, next_row: int) -> tuple[int, NDArray[np.float32]]:
        """Give out and forget the rows below `next_row`, where later tiles begin.

        Returns
        -------
        int
            First row of the slab in the volume.
        ndarray of float32, shape (n_channels, rows, Y, X)
            The weighted mean.
        """
        first, n_rows = self._first_row, max(0, next_row - self._first_row)
        n_rows = min(n_rows, self._window.shape[1])
        slab = self._window[:, :n_rows].copy()
        self._window = self._window[:, n_rows:].copy()
        self._first_row += n_rows
        z, y, x = self._axis_weights
        slab /= z[first : first + n_rows, None, None] * y[:, None] * x
        return first, slab

    def _grow(self, stop: int) -> None:
        missing = stop - self._first_row - self._window.shape[1]
        if missing > 0:
            self._window = np.pad(self._window, ((0, 0), (0, missing), (0, 0), (0, 0)))
