"""The chunked copy of a compressed image: how it is cut, filled, read and reported."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from e2miseg_core.io.cache.folder import telling_of_the_cache
from e2miseg_core.io.lazy import Box

__all__ = [
    "chunk_shape",
    "create_copy",
    "read_copy",
    "read_report",
    "slabs",
    "write_report",
]

_SIDE = 64  # voxels along each axis of a chunk, where slabs are not larger than:
_SLAB_BYTES = 64 << 20  # in memory while unpacking
_VOXELS = "voxels"
_REPORT = "progress.json"

Shape = tuple[int, int, int, int]


def create_copy(folder: Path, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Make an empty zarr array (G, Z, Y, X) in a folder."""
    return zarr.create_array(
        folder / _VOXELS,
        shape=shape,
        chunks=chunk_shape(shape, dtype.itemsize),
        dtype=dtype.newbyteorder("="),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    )


def chunk_shape(shape: Shape, itemsize: int) -> Shape:
    """Chunks of (G, Z, Y, X): near to cubes, flatter where planes are large."""
    _, depth, height, width = shape
    plane = height * width * itemsize
    thickness = min(_SIDE, depth, max(1, _SLAB_BYTES // plane))
    side = max(8, math.isqrt(_SIDE**3 // thickness) // 8 * 8)
    return 1, thickness, min(side, height), min(side, width)


def slabs(
    shape: Shape, chunks: Shape, itemsize: int
) -> Iterator[tuple[tuple[int, slice, slice], tuple[int, int, int]]]:
    """Cut an array in the order of its bytes into runs of whole chunks."""
    groups, depth, height, width = shape
    rows = height
    if chunks[1] * height * width * itemsize > _SLAB_BYTES:  # then one plane thick
        rows = max(1, _SLAB_BYTES // (chunks[2] * width * itemsize)) * chunks[2]
    for group in range(groups):
        for z in range(0, depth, chunks[1]):
            for y in range(0, height, rows):
                planes = slice(z, min(z + chunks[1], depth))
                lines = slice(y, min(y + rows, height))
                size = (planes.stop - z, lines.stop - y, width)
                yield (group, planes, lines), size


def read_copy(folder: Path, box: Box) -> NDArray[Any] | None:
    """Read a box of a copy; None if it is not there any more.

    Missing chunks read as 0. So a block counts only if the copy is still there
    afterwards, by its metadata, which only `create_copy` writes.
    """
    before = _identity(folder)
    if before is None:
        return None
    try:
        copy: Any = zarr.open_array(folder / _VOXELS, mode="r")
        block: NDArray[Any] = copy[box]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if _identity(folder) != before:
            return None
        with telling_of_the_cache():
            raise OSError(str(error)) from error
    return block if _identity(folder) == before else None


def _identity(folder: Path) -> tuple[int, ...] | None:
    """Tell a copy from another one in the same place; None if there is none."""
    try:
        stat = (folder / _VOXELS / "zarr.json").stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns


def write_report(folder: Path, done: int) -> None:
    """Tell other processes how far it is; they see the old word or the new one."""
    new = folder / f"{_REPORT}.new"
    new.write_text(json.dumps({"done": done}), encoding="utf-8")
    new.replace(folder / _REPORT)


def read_report(folder: Path) -> int:
    """Bytes that another process has unpacked; 0 where it has not said."""
    try:
        report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        return int(report["done"])
    except (OSError, ValueError, KeyError, TypeError):  # not yet, or gone
        return 0
