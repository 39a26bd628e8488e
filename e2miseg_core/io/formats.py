"""The formats: which suffix is read and written by what, and opening by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.nifti import read_nifti, write_nifti
from e2miseg_core.io.ome_zarr import is_zarr, read_ome_zarr, write_ome_zarr
from e2miseg_core.io.plan import WritePlan
from e2miseg_core.volume import Volume

__all__ = [
    "Format",
    "format_of",
    "is_writable_suffix",
    "known_suffixes",
    "open_labels",
    "open_volume",
    "split_suffix",
]


# Labels stored as scaled integers come back off by the scaling's rounding.
_ROUNDING = 1e-3


@dataclass(frozen=True, kw_only=True)
class Format:
    """One file format.

    Attributes
    ----------
    name : str
        For users.
    is_folder : bool
        Whether an image is a folder.
    suffixes : tuple of str
        Lower case, the usual one first.
    read : callable
        Opens a path lazily.
    write : callable or None
        Writes a plan to a new path and returns the CRC-32 of the voxels.
    """

    name: str
    suffixes: tuple[str, ...]
    is_folder: bool
    read: Callable[[Path], Volume]
    write: Callable[[WritePlan, Path], int] | None


FORMATS = (
    Format(
        name="NIfTI",
        suffixes=(".nii.gz", ".nii"),
        is_folder=False,
        read=read_nifti,
        write=write_nifti,
    ),
    Format(
        name="OME-Zarr",
        suffixes=(".ome.zarr", ".zarr"),
        is_folder=True,
        read=read_ome_zarr,
        write=write_ome_zarr,
    ),
)


def known_suffixes(*, writable: bool = False) -> tuple[str, ...]:
    """Suffixes that can be read, or those that can be written."""
    return tuple(
        suffix
        for known in FORMATS
        if known.write is not None or not writable
        for suffix in known.suffixes
    )


def is_writable_suffix(path: str | Path) -> bool:
    """Whether a file of this name can be written."""
    found = format_of(path)
    return found is not None and found.write is not None


def split_suffix(path: str | Path) -> tuple[str, str]:
    """Split a name into stem and known suffix, empty if it has none.

    Parameters
    ----------
    path : str or Path
        Only its last part counts.

    Returns
    -------
    tuple of str
        Such as ("scan", ".nii.gz").
    """
    name = Path(path).name
    for suffix in sorted(known_suffixes(), key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def format_of(path: str | Path) -> Format | None:
    """Find the format by the suffix, None if it is unknown."""
    suffix = split_suffix(path)[1].lower()
    return next((known for known in FORMATS if suffix in known.suffixes), None)


def open_volume(path: str | Path) -> Volume:
    """Open an image of any size without reading its voxels.

    Parameters
    ----------
    path : str or Path
        A .nii or .nii.gz file, or an OME-Zarr folder.

    Returns
    -------
    Volume
        Lazy, in canonical orientation.

    Raises
    ------
    ReadError
        If it is missing, damaged or of an unknown format. Damage to the voxels
        themselves is found, and raised, when they are read.
    GeometryError
        If its header has no usable grid.
    """
    place = Path(path).expanduser()
    found = format_of(place)
    if "://" in str(path):
        raise ReadError(
            found=f"the address {path}",
            needed="a file or a folder on this machine",
            do="download it first",
        )
    if found is not None and not found.is_folder and place.is_dir():
        raise ReadError(
            found=f"{place} is a folder", needed="a file", do="name a file in it"
        )
    if found is not None:
        return found.read(place)
    if is_zarr(place):
        return read_ome_zarr(place)
    what = "is missing" if not place.exists() else "is of an unknown format"
    raise ReadError(
        found=f"{place} {what}",
        needed="a name that ends in " + ", ".join(known_suffixes()),
        do="check the path, or convert the image",
    )


def open_labels(path: str | Path) -> Volume:
    """Open labels without reading their voxels.

    Parameters
    ----------
    path : str or Path
        As for `open_volume`.

    Returns
    -------
    Volume
        One channel of unsigned integers. Whole numbers that are stored in another
        type, to within 0.001, are converted as they are read.

    Raises
    ------
    ReadError
        At once if there are several channels; when voxels are read, if one of them
        is negative or not a whole number.
    """
    volume = open_volume(path)
    if volume.n_channels != 1:
        raise ReadError(
            found=f"{path} has {volume.n_channels} channels",
            needed="labels: one whole number a voxel",
            do="choose the label file, or split it by channel",
        )
    return Volume(
        levels=tuple(_as_labels(level, str(path)) for level in volume.levels),
        geometry=volume.geometry,
        channels=("labels",),
        source=volume.source,
        notes=volume.notes,
    )


def _as_labels(level: da.Array, uri: str) -> da.Array:
    stored: np.dtype[Any] = level.dtype
    if stored.kind == "u":
        return level
    # Of the width that holds every value of a signed type; 32 bits for real numbers.
    width = min(stored.itemsize, 4) if stored.kind in "ib" else 4
    dtype = np.dtype(f"u{width}")
    labels: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
        _checked_labels,
        level,
        uri,
        dtype,
        dtype=dtype,
        meta=np.empty((0, 0, 0, 0), dtype),
    )
    return labels


def _checked_labels(
    block: NDArray[Any], uri: str, target: np.dtype[Any]
) -> NDArray[Any]:
    whole = np.rint(block) if block.dtype.kind == "f" else block
    with np.errstate(invalid="ignore"):  # NaN and infinity are found to differ
        labels = whole.astype(target)
        wrong = labels != whole
        if block.dtype.kind == "f":
            wrong |= np.abs(block - whole) > _ROUNDING
    if wrong.any():
        raise ReadError(
            found=f"{uri} holds the value {block[wrong].flat[0]}",
            needed="labels: whole numbers from 0 to 4294967295",
            do="choose the label file, or round its values",
        )
    return labels
