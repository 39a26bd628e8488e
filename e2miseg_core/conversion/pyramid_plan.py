"""How a volume is cut into cells, from which level's cells the next ones are made."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import dask.array as da
import numpy as np

from e2miseg_core.conversion.options import ConversionOptions
from e2miseg_core.downsample import Step, coarse_shape, level_steps
from e2miseg_core.errors import ConfigError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.plan import Kind
from e2miseg_core.volume import Segments

__all__ = ["Cell", "PyramidPlan", "Region", "make_plan"]

_SHARD = 4  # chunks along each axis of a file
_SHARDED_FROM = 512  # chunks of the finest level; fewer files need no shards
# Voxels on their way count so often: read, put together, compressed, read back.
_COPIES = 4

# Level, channel, and the place on the level's grid of cells along Z, Y, X.
Cell: TypeAlias = tuple[int, int, int, int, int]
Region: TypeAlias = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False, kw_only=True)
class PyramidPlan:
    """A pyramid to be written; whoever writes a cell owns all its files.

    Attributes
    ----------
    data : dask array, shape (C, Z, Y, X)
        The finest level on the axes of the store.
    geometry : Geometry
        Of those axes.
    kind : str
        "labels" or "image".
    channels : tuple of str
        Their names, empty for an array (Z, Y, X).
    segments : Segments
        Names and colours of label values.
    steps : tuple of Step
        Blocks from each level to the next.
    chunk : int
        Voxels along each edge of a chunk.
    shard : int
        Chunks along each axis of a file.
    edge : int
        Voxels along each edge of a cell, whole files.
    workers : int
        Threads.
    piece : tuple of int
        Voxels along Z, Y, X that are read from the source in one go: whole cells.
    is_oriented : bool
        Whether it is known how the axes lie in the world.
    """

    data: da.Array
    geometry: Geometry
    kind: Kind
    channels: tuple[str, ...]
    segments: Segments
    steps: tuple[Step, ...]
    chunk: int
    shard: int
    edge: int
    workers: int
    piece: tuple[int, int, int]
    is_oriented: bool = True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels."""
        dtype: np.dtype[Any] = self.data.dtype
        return dtype

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Of the levels along Z, Y, X."""
        shapes = itertools.accumulate(
            self.steps, coarse_shape, initial=self.geometry.shape
        )
        return tuple(shapes)

    @property
    def n_bytes(self) -> int:
        """Of all voxels of all levels."""
        voxels = sum(math.prod(shape) for shape in self.shapes)
        return int(voxels * self.data.shape[0] * self.dtype.itemsize)

    def cells(self, level: int) -> Iterator[Cell]:
        """Cells of a level, in the order of its bytes."""
        grid = [range(-(-size // self.edge)) for size in self.shapes[level]]
        for channel in range(self.data.shape[0]):
            for z, y, x in itertools.product(*grid):
                yield level, channel, z, y, x

    def region(self, cell: Cell) -> Region:
        """Voxels of a cell along Z, Y, X of its level."""
        z, y, x = (
            slice(at * self.edge, min((at + 1) * self.edge, size))
            for at, size in zip(cell[2:], self.shapes[cell[0]], strict=True)
        )
        return z, y, x

    def cell_bytes(self, cell: Cell) -> int:
        """Bytes of the voxels of a cell."""
        sizes = (part.stop - part.start for part in self.region(cell))
        return int(math.prod(sizes) * self.dtype.itemsize)

    def parent(self, cell: Cell) -> Cell | None:
        """Cell of the next level that a cell is a part of."""
        level, channel, *place = cell
        if level == len(self.steps):
            return None
        z, y, x = (at // by for at, by in zip(place, self.steps[level], strict=True))
        return level + 1, channel, z, y, x

    def children(self, cell: Cell) -> list[Cell]:
        """Cells of the finer level that a cell is made from."""
        level, channel, *place = cell
        finer = level - 1
        ranges = [
            range(at * by, min((at + 1) * by, -(-size // self.edge)))
            for at, by, size in zip(
                place, self.steps[finer], self.shapes[finer], strict=True
            )
        ]
        return [(finer, channel, z, y, x) for z, y, x in itertools.product(*ranges)]

    def pieces(self) -> Iterator[list[Cell]]:
        """Cells of the finest level that are read together, in the source's order."""
        per_piece = [size // self.edge for size in self.piece]
        grid = [-(-size // self.edge) for size in self.shapes[0]]
        corners = [range(0, n, by) for n, by in zip(grid, per_piece, strict=True)]
        for channel in range(self.data.shape[0]):
            for corner in itertools.product(*corners):
                ranges = [
                    range(at, min(at + by, n))
                    for at, by, n in zip(corner, per_piece, grid, strict=True)
                ]
                yield [(0, channel, z, y, x) for z, y, x in itertools.product(*ranges)]


def make_plan(
    data: da.Array,
    geometry: Geometry,
    options: ConversionOptions,
    *,
    kind: Kind,
    channels: tuple[str, ...] = (),
    segments: Segments | None = None,
    is_oriented: bool = True,
) -> PyramidPlan:
    """Cut a volume so that files, cells and workers fit into the allowed memory.

    Parameters
    ----------
    data : dask array, shape (C, Z, Y, X)
        On the axes that `geometry` describes.
    geometry : Geometry
        Of the store.
    options : ConversionOptions
        Its number of workers is lowered where the memory does not suffice.
    kind : str
        "labels" or "image".
    channels : tuple of str
        Their names; empty for an array (Z, Y, X).
    segments : Segments, optional
        Names and colours of label values.
    is_oriented : bool
        Whether it is known how the axes lie in the world.

    Raises
    ------
    ConfigError
        If not even one chunk fits.
    """
    chunk, itemsize = options.chunk, data.dtype.itemsize
    allowed = options.max_memory // _COPIES
    per_cell = next(
        (n for n in (_SHARD, 2) if (chunk * n) ** 3 * itemsize <= allowed), 1
    )
    edge = chunk * per_cell
    workers = max(1, min(options.n_workers, allowed // (edge**3 * itemsize)))
    if chunk**3 * itemsize > allowed:
        raise ConfigError(
            found=f"chunks of {chunk} voxels in {options.max_memory} bytes of memory",
            needed=f"{_COPIES * chunk**3 * itemsize} bytes",
            do="take smaller chunks, or allow more memory",
        )
    n_chunks = math.prod(-(-size // chunk) for size in geometry.shape)
    return PyramidPlan(
        data=data,
        geometry=geometry,
        kind=kind,
        channels=channels,
        segments=segments or Segments(),
        steps=level_steps(geometry.shape, geometry.spacing, options.n_levels),
        chunk=chunk,
        shard=per_cell if n_chunks >= _SHARDED_FROM else 1,
        edge=edge,
        workers=workers,
        piece=_piece(data, edge, allowed // workers),
        is_oriented=is_oriented,
    )


def _piece(data: da.Array, edge: int, allowed: int) -> tuple[int, int, int]:
    """Grow a cell to the pieces of the source, so that each of them is read once.

    A compressed plane that is wider than a cell would else be unpacked for every cell.
    """
    piece = [edge, edge, edge]
    for axis in (2, 1):  # planes are cheap to read apart
        size, stored = data.shape[axis + 1], max(data.chunks[axis + 1])
        others = math.prod(piece) // edge * data.dtype.itemsize
        most = max(1, allowed // (others * edge))
        wanted = -(-min(size, stored) // edge) if stored > edge else 1
        piece[axis] = edge * min(most, wanted)
    return piece[0], piece[1], piece[2]
