"""A folder of slices, one TIFF or PNG file each, as one stack."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from e2miseg_core.errors import Choice, ChoiceError, ReadError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.axes import SPATIAL_NOTE, AxisPixels, checked_array
from e2miseg_core.io.grid import grid_of
from e2miseg_core.io.lazy import oriented
from e2miseg_core.io.ome.image import inner_path
from e2miseg_core.io.slices.files import SLICE_SUFFIXES, Slice, read_slice, slice_of
from e2miseg_core.volume import Source, Volume, default_channels

__all__ = ["is_slice_folder", "read_slices"]

_FEWEST = 2
_MOST_CHECKED = 1000  # headers that are read at once; others when their slice is read


def is_slice_folder(path: Path) -> bool:
    """Whether a folder, or one in it, holds slices."""
    try:
        return path.is_dir() and bool(_slices_in(path) or _folders_in(path))
    except ReadError:  # of several kinds: opening says so
        return True


def read_slices(address: Address) -> Volume:
    """Open a folder of slices without reading their pixels.

    Parameters
    ----------
    address : Address
        Its part is a folder inside, needed where several hold slices.

    Returns
    -------
    Volume
        Slices in natural order (2 before 10); colours become channels.

    Raises
    ------
    ChoiceError
        If several folders inside hold slices.
    ReadError
        If the slices differ in size or type, or one is damaged.
    """
    root = address.path
    folder = root / inner_path(str(address), address.part)
    files = _slices_in(folder)
    if not files:
        inside = _folders_in(folder)
        if len(inside) == 1:
            return read_slices(Address(address.place, inside[0].part, address.frame))
        if inside:
            raise ChoiceError.among(root, "folders of slices", inside)
        raise ReadError(
            found=f"{folder} holds no slices",
            needed=f"two or more files that end in {', '.join(SLICE_SUFFIXES)}",
            do="check the folder",
        )
    first = _common_slice(files)
    axes = "zyxs" if len(first.shape) == 3 else "zyx"
    shape = (len(files), *first.shape)
    checked_array(str(folder), axes, shape, first.dtype, (1, *first.shape))
    stored = _Stored(tuple(files), first)
    pixels = AxisPixels(stored, axes, shape, first.dtype, str(folder))
    spacing = (first.spacing[0], *first.spacing)
    with grid_of(folder):
        geometry = Geometry.from_spacing(pixels.shape[1:], spacing, first.unit)
    transform = canonical_transform(geometry)
    stats = [file.stat() for file in files[:_MOST_CHECKED]]
    times = [(stat.st_mtime_ns, stat.st_size) for stat in stats]
    token = tokenize(str(folder.resolve()), [file.name for file in files], times)
    chunks = pixels.chunks((1, *first.shape))
    source = Source(
        uri=str(address),
        format="tiff",
        geometry=geometry,
        transform=transform,
        dtype=first.dtype,
    )
    return Volume(
        levels=(oriented(pixels, chunks, transform, f"slices-{token}"),),
        geometry=transform.apply_geometry(geometry),
        channels=default_channels(pixels.shape[0]),
        source=source,
        notes=(
            f"{len(files)} slices, from {files[0].name} to {files[-1].name}",
            *first.notes,
            "the distance of slices is not stated: taken as that of rows",
            SPATIAL_NOTE,
        ),
        is_oriented=False,
    )


def _slices_in(folder: Path) -> list[Path]:
    """Slices of the kind that most files are, in natural order; empty if too few."""
    try:
        files = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in SLICE_SUFFIXES
            and not file.name.startswith(".")
            and file.is_file()
        ]
    except OSError:
        return []
    kinds = Counter(SLICE_SUFFIXES[file.suffix.lower()] for file in files)
    if not kinds or kinds.most_common(1)[0][1] < _FEWEST:
        return []
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        raise ReadError(
            found=f"{folder} holds slices of several kinds ({counts})",
            needed="a folder with the slices of one stack",
            do="move the others elsewhere",
        )
    return sorted(files, key=_natural)


def _folders_in(folder: Path) -> list[Choice]:
    choices: list[Choice] = []
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
    for path in inside:
        try:
            files = _slices_in(path)
        except ReadError:  # of several kinds: not offered
            continue
        if files:
            choices.append(Choice(path.name, path.name, f"{len(files)} slices"))
    return choices


def _natural(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key: runs of digits count as numbers."""
    steps = re.split(r"(\d+)", path.name.lower())
    key = [(0, int(s)) if s.isdecimal() else (1, s) for s in steps if s]
    return key, path.name


def _common_slice(files: Sequence[Path]) -> Slice:
    """Header of the first slice, which those of the others must equal."""
    first = slice_of(files[0])
    step = -(-len(files) // _MOST_CHECKED)
    for file in (*files[1::step], files[-1]):
        _check_alike(slice_of(file), first, file, files[0])
    return first


def _check_alike(found: Slice, first: Slice, file: Path, other: Path) -> None:
    if (found.shape, found.dtype) != (first.shape, first.dtype):
        raise ReadError(
            found=f"{file} is {found}, but {other.name} {first}",
            needed="slices of one size and type",
            do="move those that do not belong to the stack elsewhere",
        )


@dataclass(frozen=True)
class _Stored:
    """A `StoredArray`: a file is read when its slice is."""

    files: tuple[Path, ...]
    first: Slice

    def read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return a part; the slices are never given as a number."""
        wanted, *inside = index
        if not isinstance(wanted, slice):
            raise TypeError(wanted)
        parts = [self._slice(number)[tuple(inside)] for number in _range(wanted)]
        return np.stack(parts)

    def _slice(self, number: int) -> NDArray[Any]:
        file = self.files[number]
        pixels = read_slice(file)
        if (pixels.shape, pixels.dtype) != (self.first.shape, self.first.dtype):
            raise ReadError(
                found=f"{file} is of shape {pixels.shape} and type {pixels.dtype}",
                needed=f"{self.first}, as the first slice",
                do="move it elsewhere",
            )
        return pixels


def _range(wanted: slice) -> range:
    return range(wanted.start, wanted.stop)
