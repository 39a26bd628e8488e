"""The levels of a TIFF series: where their pixels lie, checked before they are read."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.axes import checked_array, faults
from e2miseg_core.io.open_files import KeptOpen
from e2miseg_core.io.raw.plain import PlainArray
from e2miseg_core.io.raw.unchanged import check_unchanged, stamp_of

__all__ = [
    "StoredLevel",
    "TiffLevel",
    "levels_of",
    "listening",
    "opened_tiff",
    "tiff_faults",
]

Series: TypeAlias = "tifffile.TiffPageSeries"

_WHOLE_PAGE = 64 << 20  # pages up to this size are read whole, larger ones by strips
# No codec packs real images as much; a file that announces more lies.
_MOST_PACKED = 10_000
_MOST_CHECKED = 1000  # pages


@dataclass(frozen=True)
class TiffLevel:
    """Where the voxels of a series, or of one of its coarser levels, lie."""

    series: int
    number: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None  # None where all bytes lie in order from `offset`
    offset: int
    by_page: bool


def tiff_faults() -> tuple[type[BaseException], ...]:
    """What damaged files make tifffile raise; it parses XML too."""
    return (*faults(), tifffile.TiffFileError, MemoryError)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what tifffile only logs: much of it is damage."""
    said: list[str] = []
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        if record.thread == thread:
            said.append(" ".join(record.getMessage().split()))
        return record.thread != thread

    logger = logging.getLogger("tifffile")
    logger.addFilter(keep)
    try:
        yield said
    finally:
        logger.removeFilter(keep)


@contextmanager
def opened_tiff(path: Path) -> Iterator[tuple["tifffile.TiffFile", list[str]]]:
    """Open a file and collect what is said of it until it is closed."""
    with listening() as said, tifffile.TiffFile(path) as tif:
        yield tif, said


def levels_of(
    path: Path, tif: "tifffile.TiffFile", number: int, axes: str
) -> tuple[list[TiffLevel], list[str]]:
    """Describe the levels; those that do not fit the finest one are left out."""
    series = tif.series[number]
    levels: list[TiffLevel] = []
    notes: list[str] = []
    for at, level in enumerate(series.levels):
        finer = levels[-1].shape if levels else series.shape
        fits = len(level.shape) == len(finer) and all(
            small <= large if axis in "zyx" else small == large
            for axis, small, large in zip(axes, level.shape, finer, strict=True)
        )
        if fits and level.dtype == series.dtype:
            levels.append(_level(path, level, (number, at), axes))
        else:
            notes.append(f"level {at} left out: {level.shape} after {finer}")
    return levels, notes


def _level(path: Path, series: Series, place: tuple[int, int], axes: str) -> TiffLevel:
    shape = tuple(int(size) for size in series.shape)
    keyframe = series.keyframe
    dtype = np.dtype(series.dtype).newbyteorder(keyframe.parent.byteorder)
    checked_array(str(path), axes, shape, dtype, None)
    size = path.stat().st_size
    if series.nbytes > _MOST_PACKED * size:
        raise _lies(path, f"announces {series.nbytes} bytes of pixels")
    _check_parents(path, series)
    offset = series.dataoffset
    if offset is not None and dtype.kind != "b":
        if offset + series.nbytes > size:
            raise _lies(path, f"announces {offset + series.nbytes} bytes")
        return TiffLevel(*place, shape, dtype, None, offset, by_page=False)
    _check_codec(path, keyframe)
    _check_extent(path, series)
    by_page = not keyframe.is_tiled and keyframe.nbytes <= _WHOLE_PAGE
    store = series.aszarr(level=0, chunkmode=2 if by_page else 0)
    try:
        chunks = tuple(zarr.open_array(store, mode="r").chunks)
    finally:
        store.close()
    checked_array(str(path), axes, shape, dtype, chunks)
    return TiffLevel(*place, shape, dtype, chunks, 0, by_page=by_page)


def _lies(path: Path, what: str) -> ReadError:
    return ReadError(
        found=f"{path} is cut off: {what}, and has {path.stat().st_size}",
        needed="a whole file",
        do="copy or export it again",
    )


def _check_parents(path: Path, series: Series) -> None:
    """Refuse pages of files elsewhere: OME-TIFF may name any."""
    if not series.is_multifile:
        return
    folder = path.resolve().parent
    names = {page.parent.filehandle.path for page in series.pages if page is not None}
    for name in sorted(names):
        if Path(name).resolve().parent != folder:
            raise ReadError(
                found=f"{path} takes pages from {name}",
                needed="pages in files of the same folder",
                do="check where the file comes from",
            )


def _check_extent(path: Path, series: Series) -> None:
    """Refuse a file that ends before its pixels; of many pages some are looked at."""
    count = len(series.pages)
    for number in {*range(0, count, -(-count // _MOST_CHECKED)), count - 1}:
        page = series.pages[number]
        if page is None:  # left out
            continue
        ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=False))
        end = max(ends, default=0)
        if end > page.parent.filehandle.size:
            raise _lies(path, f"page {number} ends at byte {end}")


def _check_codec(path: Path, keyframe: Any) -> None:
    try:
        tifffile.TIFF.DECOMPRESSORS[keyframe.compression]
        tifffile.TIFF.UNPREDICTORS[keyframe.predictor]
    except (KeyError, ValueError) as error:
        name = getattr(keyframe.compression, "name", keyframe.compression)
        raise ReadError(
            found=f"{path} is packed by {name}",
            needed="a codec that is installed",
            do="save it with deflate or without compression",
        ) from error


class StoredLevel:
    """A `StoredArray`: pixels in order are read as they lie, others by tifffile."""

    def __init__(self, path: Path, level: TiffLevel) -> None:
        self._path = path
        self._level = level
        self._stamp = stamp_of(path.stat())
        self._file = KeptOpen(partial(_open, path, level))

    def read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return a part."""
        if self._level.chunks is None:
            return self._read_plain(index)
        check_unchanged(self._path, self._stamp)
        try:
            with self._file.borrow() as array:
                return np.array(array[index])
        except tifffile.TiffFileError as error:
            msg = f"{error}"
            raise ValueError(msg) from error

    def _read_plain(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        level = self._level
        plain = PlainArray(
            path=self._path,
            stamp=self._stamp,
            offset=level.offset,
            shape=level.shape,
            dtype=level.dtype,
        )
        box = [k if isinstance(k, slice) else slice(k, k + 1) for k in index]
        kept = tuple(slice(None) if isinstance(k, slice) else 0 for k in index)
        part: NDArray[Any] = plain[box][kept]
        return part


def _open(path: Path, level: TiffLevel) -> tuple[Any, Callable[[], None]]:
    with listening():  # it was told when the file was opened first
        tif = tifffile.TiffFile(path)
        try:
            series = tif.series[level.series].levels[level.number]
            mode = 2 if level.by_page else 0
            store = series.aszarr(level=0, chunkmode=mode)
            return zarr.open_array(store, mode="r"), tif.close
        except BaseException:
            tif.close()
            raise
