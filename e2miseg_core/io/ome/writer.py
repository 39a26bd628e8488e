"""Writing of OME-Zarr 0.5 (zarr 3).

The exact grid stands in the attributes under ``e2miseg``; beside it the scale and the
translation that every other program reads. There the axes z, y, x are those of LPS+:
they grow to superior, posterior, left, which is what a store without our grid is
taken to mean.
"""

import itertools
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.codecs
from numpy.typing import DTypeLike

from e2miseg_core.downsample import Step, coarse_shape
from e2miseg_core.errors import WriteError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.lazy import iter_slabs, slab_thickness
from e2miseg_core.io.ome.metadata import make_attributes
from e2miseg_core.io.plan import Kind, WritePlan

__all__ = ["create_store", "write_ome_zarr"]

_CHUNK = 64


def create_store(  # noqa: PLR0913 - each with a default that most callers leave
    path: str | Path,
    geometry: Geometry,
    dtype: DTypeLike,
    *,
    chunks: tuple[int, int, int] = (_CHUNK, _CHUNK, _CHUNK),
    kind: Kind = "labels",
    channels: Sequence[str] = (),
    names: Mapping[int, str] | None = None,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    n_levels: int = 1,
    steps: Sequence[Step] = (),
    shard: int = 1,
    is_oriented: bool = True,
) -> "zarr.Array[Any]":
    """Make an empty OME-Zarr 0.5 image, for a job to fill.

    Parameters
    ----------
    path : str or Path
        Folder to be made; its parent must exist.
    geometry : Geometry
        Of the array's axes Z, Y, X.
    dtype : dtype
        Of the voxels.
    chunks : tuple of int
        Along Z, Y, X; different chunks may be written at the same time.
    kind : str
        "labels" or "image".
    channels : sequence of str
        Names; with them the array is (C, Z, Y, X), without (Z, Y, X).
    names : mapping of int to str, optional
        Of label values.
    colors : mapping of int to tuple of int, optional
        Of label values: red, green, blue from 0 to 255.
    n_levels : int
        Each level beyond the first has half the voxels along Z, Y, X, rounded up:
        one for each block of 2 x 2 x 2. They stand at the paths "1", "2", ...
    steps : sequence of Step
        Instead of `n_levels`: the blocks from each level to the next.
    shard : int
        Chunks along each axis that one file holds. Files may be written at the same
        time, chunks of one file may not.
    is_oriented : bool
        Whether the geometry's directions are known, or were assumed.

    Returns
    -------
    zarr.Array
        Level 0, full of zeros as the others are.

    Raises
    ------
    WriteError
        If the folder exists or cannot be made.
    """
    folder, steps = Path(path), tuple(steps) or ((2, 2, 2),) * (n_levels - 1)
    if folder.exists() or not folder.parent.is_dir():
        found = f"{folder} exists" if folder.exists() else f"no folder {folder.parent}"
        raise WriteError(
            found=found,
            needed="a new name in an existing folder",
            do="choose another name, or make the folder first",
        )
    attributes = make_attributes(
        geometry,
        name=folder.name,
        kind=kind,
        channels=channels,
        names=names,
        colors=colors,
        steps=steps,
        is_oriented=is_oriented,
    )
    try:
        group = zarr.create_group(str(folder), attributes=attributes, zarr_format=3)
        shapes = itertools.accumulate(steps, coarse_shape, initial=geometry.shape)
        lead = (len(channels),) if channels else ()
        levels = [
            _create_level(
                group, str(level), (*lead, *shape), np.dtype(dtype), chunks, shard
            )
            for level, shape in enumerate(shapes)
        ]
        return levels[0]
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise WriteError(
            found=f"{folder} cannot be written ({error.strerror or error})",
            needed="an existing folder with room and the right to write",
            do="check the folder and the disk",
        ) from error


def _create_level(
    group: "zarr.Group",
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunks: tuple[int, int, int],
    shard: int,
) -> "zarr.Array[Any]":
    lead = (1,) * (len(shape) - 3)
    pieces = tuple(map(min, chunks, shape[-3:]))
    # No file is made larger than what it can hold.
    per_file = [
        piece * min(shard, -(-size // piece))
        for piece, size in zip(pieces, shape[-3:], strict=True)
    ]
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(*lead, *pieces),
        shards=(*lead, *per_file) if shard > 1 else None,
        fill_value=0,
        compressors=zarr.codecs.BloscCodec(
            cname="zstd", clevel=3, shuffle="bitshuffle"
        ),
        dimension_names=("c", "z", "y", "x")[-len(shape) :],
    )


def write_ome_zarr(plan: WritePlan, path: Path) -> int:
    """Write a plan's array slab by slab.

    Parameters
    ----------
    plan : WritePlan
        What to write.
    path : Path
        Folder to be made.

    Returns
    -------
    int
        CRC-32 of the voxels, in the order written.
    """
    store = create_store(
        path,
        plan.geometry,
        plan.dtype,
        chunks=(min(_CHUNK, slab_thickness(plan.data)), _CHUNK, _CHUNK),
        kind=plan.kind,
        channels=plan.channels,
        names=plan.names,
        colors=plan.colors,
        is_oriented=plan.is_oriented,
    )
    checksum = 0
    for index, slab in iter_slabs(plan.data):
        checksum = zlib.crc32(slab.data.cast("B"), checksum)
        store[index] = slab
    return checksum
