"""TIFF: stacks, OME-TIFF, ImageJ and LSM files, pyramids; pages read when needed."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dask.array as da
from dask.base import tokenize

from e2miseg_core.errors import Choice, ChoiceError, ReadError
from e2miseg_core.geometry import AxisTransform, Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.axes import SPATIAL_NOTE, AxisPixels
from e2miseg_core.io.grid import grid_of
from e2miseg_core.io.lazy import oriented
from e2miseg_core.io.system_errors import system_error
from e2miseg_core.io.tiff.chain import check_chain
from e2miseg_core.io.tiff.levels import (
    StoredLevel,
    TiffLevel,
    levels_of,
    opened_tiff,
    tiff_faults,
)
from e2miseg_core.io.tiff.metadata import channel_names, letters_of, spacing_of
from e2miseg_core.volume import Source, Volume, default_channels

if TYPE_CHECKING:
    import tifffile

__all__ = ["is_tiff", "read_tiff"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What tifffile logs where pages or strips cannot be found.
_LOST = ("page offset", "circular", "data offset tag", "ByteCounts", "StripOffsets")
_BESIDES = {"thumbnail", "label", "macro", "overview"}  # of slide scanners


def is_tiff(path: Path) -> bool:
    """Whether a file starts as TIFF or BigTIFF do."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in _MAGIC
    except OSError:
        return False


def read_tiff(address: Address) -> Volume:
    """Open a TIFF file without reading its pixels.

    Parameters
    ----------
    address : Address
        Its part is the number of the series (of images of one shape), from 0; needed
        only where there are several.

    Returns
    -------
    Volume
        With the levels of a pyramid. Pages are slices; times, channels and colours
        become channels.

    Raises
    ------
    ChoiceError
        If there are several series.
    ReadError
        If it is no TIFF, damaged, or packed by a codec that is not there.
    """
    path = address.path
    if not is_tiff(path):
        what = "is no TIFF file" if path.is_file() else "is missing, or no file"
        raise ReadError(
            found=f"{path} {what}",
            needed="a file that starts as TIFF does",
            do="check the path, or export it again",
        )
    try:
        check_chain(path)
        with opened_tiff(path) as (tif, said):
            number = _choose(address, tif)
            volume = _volume(address, tif, number)
            notes = (*volume.notes, *_check_pages(path, said))
            return replace(volume, notes=notes)
    except ReadError:
        raise
    except tiff_faults() as error:
        if (problem := system_error(path, error)) is not None:
            raise problem from error
        raise ReadError(
            found=f"{path} is damaged or of an unknown kind "
            f"({type(error).__name__}: {error!s:.300})",
            needed="a whole TIFF file",
            do="copy or export it again",
        ) from error


def _check_pages(path: Path, said: list[str]) -> tuple[str, ...]:
    """Refuse a file with lost pages or pixels; return notes on lesser damage."""
    if any(words in line for line in said for words in _LOST):
        raise ReadError(
            found=f"{path} is cut off or damaged, and some of its pixels are lost",
            needed="a whole file",
            do="copy or export it again",
        )
    return tuple(f"damaged metadata: {line[:200]}" for line in sorted(set(said))[:3])


def _choose(address: Address, tif: "tifffile.TiffFile") -> int:
    """Pick a series; the small pictures that scanners add do not count."""
    series = list(tif.series)
    if address.part:
        number = address.part.strip("/")
        if not number.isdecimal() or int(number) >= len(series):
            raise ReadError(
                found=f"{address.path} has no series {address.part!r:.100}",
                needed=f"a number from 0 to {len(series) - 1}",
                do="name another part",
            )
        return int(number)
    images = [
        (number, one)
        for number, one in enumerate(series)
        if one.name.strip().lower() not in _BESIDES
    ]
    if len(images) != 1:
        choices = [
            Choice(
                str(number),
                one.name or f"series {number}",
                f"{' x '.join(map(str, one.shape))}, {one.dtype}, axes {one.axes}",
            )
            for number, one in images or enumerate(series)
        ]
        raise ChoiceError.among(Address(address.place), "series", choices)
    return images[0][0]


def _volume(address: Address, tif: "tifffile.TiffFile", number: int) -> Volume:
    path = address.path
    series = tif.series[number]
    axes, notes = letters_of(path, series.axes, series.shape)
    levels, level_notes = levels_of(path, tif, number, axes)
    pixels = [
        AxisPixels(StoredLevel(path, level), axes, level.shape, level.dtype, str(path))
        for level in levels
    ]
    spacing, unit, said = spacing_of(tif, number)
    with grid_of(path):
        geometry = Geometry.from_spacing(pixels[0].shape[1:], spacing, unit)
    transform = canonical_transform(geometry)
    n_channels = pixels[0].shape[0]
    names = channel_names(tif, number, axes, n_channels)
    source = Source(
        uri=str(address),
        format="tiff",
        geometry=geometry,
        transform=transform,
        dtype=levels[0].dtype,
    )
    return Volume(
        levels=tuple(
            _lazy(path, level, one, transform)
            for level, one in zip(levels, pixels, strict=True)
        ),
        geometry=transform.apply_geometry(geometry),
        channels=names or default_channels(n_channels),
        source=source,
        notes=(*notes, *said, SPATIAL_NOTE, *level_notes),
        is_oriented=False,
    )


def _lazy(
    path: Path, level: TiffLevel, pixels: AxisPixels, transform: AxisTransform
) -> da.Array:
    stat = path.stat()
    token = tokenize(
        str(path.resolve()), level.series, level.number, stat.st_mtime_ns, stat.st_size
    )
    return oriented(pixels, pixels.chunks(level.chunks), transform, f"tiff-{token}")
