"""Single slices: header and pixels of a TIFF or PNG file."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.axes import checked_array, faults
from e2miseg_core.io.limits import DEFLATE_RATIO

__all__ = ["SLICE_SUFFIXES", "Slice", "read_slice", "slice_of"]

SLICE_SUFFIXES = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG"}
_PNG = b"\x89PNG\r\n\x1a\n"
# Samples a pixel by the colour type of a PNG header; a palette's indices are read.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_NO_SPACING = ("no spacing is stated: pixels taken as 1 mm",)


@dataclass(frozen=True)
class Slice:
    """What a file's header says: shape (Y, X) or (Y, X, samples), type, spacing."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    spacing: tuple[float, float] = (1.0, 1.0)
    unit: str = "mm"
    notes: tuple[str, ...] = field(default=_NO_SPACING, compare=False)

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))}, {self.dtype}"


def slice_of(path: Path) -> Slice:
    """Read the header of a slice.

    Raises
    ------
    ReadError
        If it is damaged, announces more pixels than it can hold, or has several pages.
    """
    with _telling_of_damage(path):
        return _png_slice(path) if _is_png(path) else _tiff_slice(path)


def read_slice(path: Path) -> NDArray[Any]:
    """Read the pixels (Y, X) or (Y, X, samples) of a slice.

    Raises
    ------
    ReadError
        As for `slice_of`.
    """
    found = slice_of(path)
    with _telling_of_damage(path):
        pixels = _png_pixels(path) if _is_png(path) else _tiff_pixels(path)
    return pixels.astype(found.dtype.newbyteorder("="), copy=False)


def _is_png(path: Path) -> bool:
    return SLICE_SUFFIXES[path.suffix.lower()] == "PNG"


@contextmanager
def _telling_of_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except ReadError:
        raise
    except faults() as error:
        raise _damaged(path, f"{type(error).__name__}: {error!s:.200}") from error


def _png_pixels(path: Path) -> NDArray[Any]:
    # Made directly: `Image.open` warns of large images, which here are usual.
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(path) as image:
        # Fewer than 8 bits are spread over 0 to 255, as PNG defines: white stays white.
        return np.asarray(image.convert("L") if image.mode == "1" else image)


def _tiff_pixels(path: Path) -> NDArray[Any]:
    from e2miseg_core.io.tiff.levels import opened_tiff, tiff_faults

    try:
        with opened_tiff(path) as (tif, _):
            series = tif.series[0]
            pixels = series.asarray(maxworkers=1)
            at = series.axes.lower().find("s")
    except tiff_faults() as error:
        raise _damaged(path, f"{error!s:.200}") from error
    return pixels if at < 0 else np.moveaxis(pixels, at, -1)


def _damaged(path: Path, what: str) -> ReadError:
    return ReadError(
        found=f"{path} is damaged ({what})",
        needed="a whole image",
        do="copy or export it again",
    )


def _png_slice(path: Path) -> Slice:
    with path.open("rb") as file:
        head = file.read(33)
    if len(head) < 33 or not head.startswith(_PNG) or head[12:16] != b"IHDR":
        raise _damaged(path, "it does not start as PNG does")
    width, height, bits, color = struct.unpack(">IIBB", head[16:26])
    if color not in _SAMPLES or bits not in (1, 2, 4, 8, 16):
        raise _damaged(path, f"colour type {color} of {bits} bits")
    samples = _SAMPLES[color]
    if bits == 16 and samples > 1:
        raise ReadError(
            found=f"{path} has {samples} samples of 16 bits a pixel",
            needed="grey values, or colours of 8 bits",
            do="save it as TIFF",
        )
    shape = (height, width) if samples == 1 else (height, width, samples)
    dtype: np.dtype[Any] = np.dtype(np.uint16 if bits == 16 else np.uint8)
    checked_array(str(path), "yxs"[: len(shape)], shape, dtype, shape)
    size = path.stat().st_size
    if height * width * samples * bits // 8 > DEFLATE_RATIO * size:
        raise _damaged(path, f"{width} x {height} pixels announced in {size} bytes")
    return Slice(shape, dtype)


def _tiff_slice(path: Path) -> Slice:
    from e2miseg_core.io.address import Address
    from e2miseg_core.io.tiff.image import read_tiff

    volume = read_tiff(Address(str(path)))
    channels, depth, height, width = volume.data.shape
    if depth > 1:
        raise ReadError(
            found=f"{path} has {depth} pages, in a folder of several files",
            needed="one slice a file",
            do="open the file itself",
        )
    shape = (height, width) if channels == 1 else (height, width, channels)
    _, y, x = volume.geometry.spacing
    stated = tuple(note for note in volume.notes if "spacing" in note)
    return Slice(
        shape, volume.dtype, (y, x), volume.geometry.unit, stated or _NO_SPACING
    )
