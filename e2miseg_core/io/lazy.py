"""Pixels on disk as dask arrays in canonical orientation.

Reorientation happens while a block is read, so that the graph of an image with
hundreds of thousands of chunks stays one flat layer.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.geometry import AxisTransform

__all__ = ["DiskArray", "iter_slabs", "oriented", "slab_chunks"]

Box = tuple[slice, slice, slice, slice]

_SLAB_BYTES = 8 << 20  # a slice on screen, and a patch, cost a few slabs each
_PLANE_BYTES = 32 << 20  # a plane larger than this is cut into rows
_WRITE_BYTES = 128 << 20  # of one slab while writing


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


class _Oriented:
    """A `DiskArray` that answers numpy's basic indexing on canonical axes."""

    def __init__(self, disk: DiskArray, transform: AxisTransform) -> None:
        self._disk = disk
        self._transform = transform
        self.shape = (disk.shape[0], *transform.apply_shape(disk.shape[1:]))
        self.dtype = disk.dtype
        self.ndim = 4

    def __getitem__(self, key: Any) -> NDArray[Any]:
        box, rest = _split_key(key, self.shape)
        spatial = [slice(None)] * 3
        for axis, flip in enumerate(self._transform.flips):
            low, high = box[axis + 1].start, box[axis + 1].stop
            size = self.shape[axis + 1]
            turned = slice(size - high, size - low) if flip else slice(low, high)
            spatial[self._transform.permutation[axis]] = turned
        block = self._disk.read((box[0], spatial[0], spatial[1], spatial[2]))
        part: NDArray[Any] = self._transform.apply(block)[rest]
        return part


def _split_key(key: Any, shape: Sequence[int]) -> tuple[list[slice], tuple[Any, ...]]:
    """Split a basic index into a box to read, and an index into that box."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        where = keys.index(Ellipsis)
        keys[where : where + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    keys += [slice(None)] * (len(shape) - len(keys))
    box: list[slice] = []
    rest: list[Any] = []
    for item, size in zip(keys, shape, strict=True):
        if not isinstance(item, slice):
            index = range(size)[int(item)]
            box.append(slice(index, index + 1))
            rest.append(0)
            continue
        wanted = range(size)[item]
        low, high = (min(wanted), max(wanted) + 1) if wanted else (0, 0)
        box.append(slice(low, high))
        rest.append(slice(None, None, wanted.step))
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
        _Oriented(disk, transform),
        chunks=(tuple(chunks[0]), *turned),
        name=name,
        asarray=False,
        fancy=False,  # _Oriented answers boxes only
        meta=np.empty((0, 0, 0, 0), dtype=disk.dtype),
    )
    return lazy


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


def _cut(size: int, step: int) -> tuple[int, ...]:
    whole, rest = divmod(size, step)
    return (step,) * whole + ((rest,) if rest else ())


def slab_thickness(data: da.Array) -> int:
    """Planes along Z of an array (..., Z, Y, X) that are written in one go."""
    depth, height, width = data.shape[-3:]
    planes = max(1, _WRITE_BYTES // (height * width * data.dtype.itemsize))
    return int(min(depth, planes if planes < 64 else planes // 64 * 64))


def iter_slabs(
    data: da.Array, convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None
) -> Iterator[tuple[tuple[Any, ...], NDArray[Any]]]:
    """Compute an array slab by slab, in the order of its bytes.

    Parameters
    ----------
    data : dask array, shape (Z, Y, X) or (C, Z, Y, X)
        Of any size.
    convert : callable, optional
        Applied to each slab.

    Yields
    ------
    tuple
        Index of the slab, and the slab itself (Z, Y, X), contiguous.
    """
    step = slab_thickness(data)
    leads = np.ndindex(*data.shape[:-3])
    for lead in leads:
        for start in range(0, data.shape[-3], step):
            index = (*lead, slice(start, min(start + step, data.shape[-3])))
            block = data[index].compute(scheduler="threads")
            if convert is not None:
                block = convert(block)
            yield index, np.ascontiguousarray(block)
