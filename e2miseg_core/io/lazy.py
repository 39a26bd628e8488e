"""Pixels on disk as dask arrays in canonical orientation.

Reorientation happens while a block is read, so that the graph of an image with
hundreds of thousands of chunks stays one flat layer.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.geometry import AxisTransform

__all__ = [
    "DiskArray",
    "Oriented",
    "iter_slabs",
    "merged_chunks",
    "oriented",
    "pixels_behind",
    "slab_chunks",
    "slab_thickness",
]

Box = tuple[slice, slice, slice, slice]

_SLAB_BYTES = 8 << 20  # a slice on screen, and a patch, cost a few slabs each
_PLANE_BYTES = 32 << 20  # a plane larger than this is cut into rows
_MOST_PIECES = 1 << 15  # dask looks at all of them, microseconds each, for each slice
_WRITE_BYTES = 32 << 20  # of one slab while writing, or up to four times as much
_CHUNK = 64  # where that makes slabs of whole chunks


class DiskArray(Protocol):
    """Voxels (C, Z, Y, X) as stored: `read` gets a box with step 1."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Channels, then voxels along the stored axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what `read` returns."""

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box (C, Z, Y, X)."""


class Oriented:
    """A `DiskArray` that answers numpy's basic indexing on canonical axes."""

    def __init__(self, disk: DiskArray, transform: AxisTransform) -> None:
        self._disk = disk
        self._transform = transform
        self.shape = (disk.shape[0], *transform.apply_shape(disk.shape[1:]))
        self.dtype = disk.dtype
        self.ndim = 4

    def holding_chunks(self) -> "Oriented":
        """Return the same, which keeps what it decodes where that comes in chunks."""
        from e2miseg_core.io.decoded import DecodedChunks

        unit = getattr(self._disk, "unit", None)
        if unit is None:
            return self
        return Oriented(DecodedChunks(self._disk, unit), self._transform)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        box, rest = _split_key(key, self.shape)
        spatial = [slice(None)] * 3
        for axis, flip in enumerate(self._transform.flips):
            low, high = box[axis + 1].start, box[axis + 1].stop
            size = self.shape[axis + 1]
            turned = slice(size - high, size - low) if flip else slice(low, high)
            spatial[self._transform.permutation[axis]] = turned
        block = self._disk.read((box[0], spatial[0], spatial[1], spatial[2]))
        part: NDArray[Any] = self._transform.apply(block)
        for axis in reversed(range(4)):  # one at a time: dask means lists so
            part = part[(slice(None),) * axis + (rest[axis],)]
        return part


def _split_key(key: Any, shape: Sequence[int]) -> tuple[list[slice], tuple[Any, ...]]:
    """Split an index into a box to read, and an index into that box.

    Each part may be a number, a slice or a list of numbers.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        where = keys.index(Ellipsis)
        keys[where : where + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    keys += [slice(None)] * (len(shape) - len(keys))
    box: list[slice] = []
    rest: list[Any] = []
    for item, size in zip(keys, shape, strict=True):
        if isinstance(item, slice):
            wanted: range | NDArray[Any] = range(size)[item]
            local: Any = slice(None, None, item.step)
        else:
            wanted = np.atleast_1d(np.arange(size)[item])
            local = 0 if np.ndim(item) == 0 else wanted - wanted.min(initial=size)
        low, high = (min(wanted), max(wanted) + 1) if len(wanted) else (0, 0)
        box.append(slice(int(low), int(high)))
        rest.append(local)
    return box, tuple(rest)


def oriented(
    disk: DiskArray,
    chunks: Sequence[Sequence[int]],
    transform: AxisTransform,
    name: str,
) -> da.Array:
    """Present stored voxels as a dask array on canonical axes.

    Parameters
    ----------
    disk : DiskArray
        Shape (C, Z, Y, X) on the stored axes.
    chunks : four sequences of int
        Sizes of the chunks along the stored axes.
    transform : AxisTransform
        From the stored to the canonical axes.
    name : str
        Unique for these voxels in this orientation.
    """
    spatial = [tuple(chunks[axis + 1]) for axis in transform.permutation]
    turned = [
        sizes[::-1] if flip else sizes
        for sizes, flip in zip(spatial, transform.flips, strict=True)
    ]
    lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]
        Oriented(disk, transform),
        chunks=(tuple(chunks[0]), *turned),
        name=name,
        meta=np.empty((0, 0, 0, 0), dtype=disk.dtype),
    )
    return lazy


def pixels_behind(array: da.Array) -> Oriented | None:
    """Find the voxels on disk that an array of `oriented` presents.

    None for an array that was computed from others, such as one of its channels.
    """
    layer = array.dask.layers.get(f"original-{array.name}", {})
    found = next(iter(layer.values()), None)
    return found if isinstance(found, Oriented) else None


def slab_chunks(
    shape: tuple[int, int, int, int], itemsize: int
) -> tuple[tuple[int, ...], ...]:
    """Cut (C, Z, Y, X) into slabs of planes, contiguous on a disk in that order."""
    channels, depth, height, width = shape
    row = max(1, width * itemsize)
    thickness = min(depth, max(1, _SLAB_BYTES // (row * height)))
    rows = height
    if row * height > _PLANE_BYTES:
        rows = max(1, _PLANE_BYTES // row)
    return (
        (1,) * channels,
        _cut(depth, thickness),
        _cut(height, rows),
        (width,),
    )


def merged_chunks(
    chunks: tuple[int, int, int], shape: tuple[int, int, int, int], itemsize: int
) -> tuple[tuple[int, ...], ...]:
    """Put small chunks (Z, Y, X) of an array (C, Z, Y, X) together, near to cubes.

    What is read is still only what is asked for; but a slice of a large image is then
    made by hundreds of tasks instead of thousands.
    """
    merged = list(chunks)
    while True:
        growing = [axis for axis in range(3) if merged[axis] < shape[axis + 1]]
        pieces = math.prod(-(-n // m) for n, m in zip(shape[1:], merged, strict=True))
        is_large = math.prod(merged) * itemsize * 2 > _SLAB_BYTES
        if not growing or (is_large and shape[0] * pieces <= _MOST_PIECES):
            break
        smallest = min(growing, key=lambda axis: merged[axis])
        merged[smallest] *= 2
    spatial = [
        _cut(size, min(step, size))
        for size, step in zip(shape[1:], merged, strict=True)
    ]
    return ((1,) * shape[0], *spatial)


def _cut(size: int, step: int) -> tuple[int, ...]:
    whole, rest = divmod(size, step)
    return (step,) * whole + ((rest,) if rest else ())


def slab_thickness(data: da.Array) -> int:
    """Planes along Z of an array (..., Z, Y, X) that are written in one go."""
    depth, height, width = data.shape[-3:]
    plane = height * width * data.dtype.itemsize
    planes = max(1, _WRITE_BYTES // plane)
    if _CHUNK * plane <= 4 * _WRITE_BYTES:
        planes = max(1, planes // _CHUNK) * _CHUNK
    return int(min(depth, planes))


def iter_slabs(
    data: da.Array,
) -> Iterator[tuple[tuple[Any, ...], NDArray[Any]]]:
    """Compute an array slab by slab, in the order of its bytes.

    Parameters
    ----------
    data : dask array, shape (Z, Y, X) or (C, Z, Y, X)
        Of any size.

    Yields
    ------
    tuple
        Index of the slab, and the slab itself (Z, Y, X), contiguous.
    """
    step = slab_thickness(data)
    for lead in np.ndindex(*data.shape[:-3]):
        for start in range(0, data.shape[-3], step):
            index = (*lead, slice(start, min(start + step, data.shape[-3])))
            block = data[index].compute(scheduler="threads")
            yield index, np.ascontiguousarray(block)
