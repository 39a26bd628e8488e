"""Formats that only nibabel or SimpleITK know, read once in a guarded child process.

The child writes a plain copy of the voxels, slab by slab, and what the header says,
into the cache; from there the image is opened lazily, now and later. Damaged files
abort some of these libraries: that ends the child alone.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from dask.base import tokenize

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.cache import keeping as cache
from e2miseg_core.io.foreign.guard import run_guarded
from e2miseg_core.io.grid import resolve_grid
from e2miseg_core.io.lazy import oriented, slab_chunks
from e2miseg_core.io.limits import DEFLATE_RATIO
from e2miseg_core.io.raw.pixels import RawLayout, RawPixels
from e2miseg_core.volume import Source, Volume, default_channels

__all__ = ["FOREIGN_SUFFIXES", "read_foreign"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How files with a suffix are read.

    Attributes
    ----------
    opener : str
        ``module:function`` that makes a `ForeignImage` in the child.
    ratio : int
        To how many times their size the voxels can unfold.
    halves : tuple of str
        Suffixes that the second file may have, where there must be one.
    """

    opener: str
    ratio: int = 1
    halves: tuple[str, ...] = ()


_NIBABEL = "e2miseg_core.io.foreign.libraries:open_nibabel"
_SIMPLEITK = "e2miseg_core.io.foreign.libraries:open_simpleitk"
_MRTRIX = "e2miseg_core.io.foreign.mrtrix:open_mrtrix"
_TEXT = 8  # "0 " is eight bytes in memory at the most, and then some
_BITS = 8
_BRIK = (".BRIK", ".BRIK.gz", ".brik", ".brik.gz")

_KINDS: dict[str, _Kind] = {
    ".head": _Kind(_NIBABEL, halves=_BRIK),
    ".brik": _Kind(_NIBABEL, halves=(".HEAD", ".head")),
    ".brik.gz": _Kind(_NIBABEL, DEFLATE_RATIO, halves=(".HEAD", ".head")),
    ".mnc": _Kind(_NIBABEL, DEFLATE_RATIO),  # MINC 2 may be compressed
    ".par": _Kind(_NIBABEL, halves=(".REC", ".rec")),
    ".rec": _Kind(_NIBABEL, halves=(".PAR", ".par")),
    ".mif": _Kind(_MRTRIX, _BITS),
    ".mif.gz": _Kind(_MRTRIX, DEFLATE_RATIO * _BITS),
    ".gipl": _Kind(_SIMPLEITK),
    ".gipl.gz": _Kind(_SIMPLEITK, DEFLATE_RATIO),
    ".vtk": _Kind(_SIMPLEITK, _TEXT),
    ".mrc": _Kind(_SIMPLEITK),
    ".pic": _Kind(_SIMPLEITK),
    ".spr": _Kind(_SIMPLEITK, halves=(".sdt", ".SDT")),
}
FOREIGN_SUFFIXES = tuple(_KINDS)

_VERSION = 1  # of the copies; raised when they come out differently
_SECONDS = 120.0  # to read a small file, on a slow disk
_BYTES_PER_SECOND = 2e6  # of a large one, at the least
_WAIT_SECONDS = 0.2
_VOXELS, _HEADER = "voxels.raw", "header.json"


def read_foreign(address: Address) -> Volume:
    """Open an image of a foreign format lazily, from a copy made when first asked.

    Parameters
    ----------
    address : Address
        A file with one of `FOREIGN_SUFFIXES`.

    Returns
    -------
    Volume
        Time and vectors as channels; scaled values as float32.

    Raises
    ------
    ReadError
        If the file is missing, damaged, or cannot be read within its time and memory.
    GeometryError
        If its header has no usable grid.
    """
    path = address.path
    folder = _copied(path)
    header = json.loads((folder / _HEADER).read_text(encoding="utf-8"))
    channels, z, y, x = header["shape"]
    geometry, notes, is_placed = resolve_grid(
        (z, y, x),
        [(header["placement"], np.array(header["affine"]))],
        header["spacing"],
        header["unit"],
        place=str(path),
    )
    dtype = np.dtype(header["dtype"])
    pixels = RawPixels(
        RawLayout(
            path=folder / _VOXELS, offset=0, shape=(channels, z, y, x), dtype=dtype
        )
    )
    transform = canonical_transform(geometry)
    chunks = slab_chunks(pixels.shape, dtype.itemsize)
    name = f"foreign-{tokenize(str(folder))}"
    return Volume(
        levels=(oriented(pixels, chunks, transform, name),),
        geometry=transform.apply_geometry(geometry),
        channels=default_channels(channels),
        source=Source(
            uri=str(address),
            format="foreign",
            geometry=geometry,
            transform=transform,
            dtype=np.dtype(header["stored_dtype"]),
        ),
        notes=(*header["notes"], *notes),
        # Of the formats that SimpleITK reads here none holds directions.
        is_oriented=is_placed and _kind(path)[0].opener != _SIMPLEITK,
    )


def _copied(path: Path) -> Path:
    """Find the copy of a file in the cache, or have it made."""
    kind, files = _kind(path)
    states = [(file.name, file.stat()) for file in files]
    seen = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in states]
    key = cache.entry_key(path, f"copy {_VERSION} by {kind.opener} of {seen}")
    while (folder := cache.find_entry(key)) is None:
        size = sum(stat.st_size for _, stat in states)
        with cache.making(key, size) as making:
            if making is not None:
                _convert(path, kind, making, size)
        if making is None:  # another process is at it
            time.sleep(_WAIT_SECONDS)
    return folder


def _convert(path: Path, kind: _Kind, folder: Path, size: int) -> None:
    header = run_guarded(
        "e2miseg_core.io.foreign.copy:copy_voxels",
        {
            "path": str(path),
            "opener": kind.opener,
            "largest": size * kind.ratio,
            "voxels": _VOXELS,
        },
        folder,
        place=str(path),
        memory=psutil.virtual_memory().total // 2,
        seconds=_SECONDS + size / _BYTES_PER_SECOND,
    )
    (folder / _HEADER).write_text(json.dumps(header), encoding="utf-8")


def _kind(path: Path) -> tuple[_Kind, tuple[Path, ...]]:
    """Find how a file is read, and all files that belong to it."""
    name = path.name.lower()
    suffix = max((known for known in _KINDS if name.endswith(known)), key=len)
    kind = _KINDS[suffix]
    if not path.is_file():
        raise ReadError(
            found=f"{path} cannot be read (no such file)",
            needed="an image file",
            do="check the path",
        )
    if not kind.halves:
        return kind, (path,)
    stem = path.name[: -len(suffix)]
    for half in kind.halves:
        if (other := path.with_name(stem + half)).is_file():
            ratio = DEFLATE_RATIO if half.lower().endswith(".gz") else kind.ratio
            return _Kind(kind.opener, ratio), (path, other)
    raise ReadError(
        found=f"{path} without its second file",
        needed=f"{stem}{kind.halves[0]} beside it",
        do="put both files into one folder",
    )
