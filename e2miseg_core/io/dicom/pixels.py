"""Voxels of a stack: a box reads the rows of its slices, and no others."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.dicom.decoding import decode_frame, decode_guarded, is_decodable
from e2miseg_core.io.dicom.header import open_file
from e2miseg_core.io.dicom.layout import PixelLayout
from e2miseg_core.io.dicom.stack import Plane, Stack
from e2miseg_core.io.dicom.tags import PARSE_ERRORS
from e2miseg_core.io.lazy import Box

__all__ = ["DicomPixels", "stored_type"]

_CACHE_BYTES = 128 << 20  # decoded planes, for views across the slices
_FLOATS = {"float": "f4", "double": "f8"}
_LARGEST_SCALE = 2**31  # products of it and 32 bits fit into 64
_INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4")


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a plane is read from, and its scale."""

    path: Path
    layout: PixelLayout
    index: int
    slope: float
    intercept: float

    @property
    def is_plain(self) -> bool:
        """Whether its rows lie in the file one after another, as they are."""
        layout = self.layout
        is_swapped = layout.is_big_endian and layout.allocated == 8
        is_odd = layout.photometric.startswith("YBR") or layout.allocated < 8
        return not (layout.is_encapsulated or is_swapped or is_odd)


def stored_type(layout: PixelLayout) -> np.dtype[Any]:
    """Type of the stored samples, in the byte order of the file."""
    order = ">" if layout.is_big_endian else "<"
    if layout.kind in _FLOATS:
        return np.dtype(order + _FLOATS[layout.kind])
    kind = "i" if layout.is_signed else "u"
    return np.dtype(f"{order}{kind}{max(1, layout.allocated // 8)}")


class DicomPixels:
    """A `DiskArray` (C, Z, Y, X); the samples of a colour are channels.

    Parameters
    ----------
    stack : Stack
        Sorted planes.
    factor : float
        By which rescaled values are multiplied: the scale to SUV.
    empty : float
        Value of missing planes.
    """

    def __init__(self, stack: Stack, factor: float = 1.0, empty: float = 0.0) -> None:
        self._planes = tuple(
            tuple(None if plane is None else _source(plane) for plane in moment)
            for moment in stack.planes
        )
        self._factor = factor
        found = [s for moment in self._planes for s in moment if s is not None]
        self.samples = found[0].layout.samples
        self.shape = (len(self._planes) * self.samples, *stack.geometry.shape)
        self.dtype = _output_type(found, factor)
        self._empty = _cast(np.array(empty), self.dtype)
        self._cached: OrderedDict[tuple[Path, int], NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # A lock cannot be pickled, and planes are read again.
        return {**self.__dict__, "_cached": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        size = [part.stop - part.start for part in box]
        block = np.empty(size, self.dtype)
        wanted: dict[_Source, list[tuple[int, int, int]]] = {}
        for to_c, channel in enumerate(range(box[0].start, box[0].stop)):
            moment, sample = divmod(channel, self.samples)
            for to_z, z in enumerate(range(box[1].start, box[1].stop)):
                source = self._planes[moment][z]
                if source is None:
                    block[to_c, to_z] = self._empty
                else:
                    wanted.setdefault(source, []).append((to_c, to_z, sample))
        if 0 in size:
            return block
        for source, rows in self._read_rows(wanted, box[2]):
            for to_c, to_z, sample in wanted[source]:
                stored = rows[:, box[3], sample]
                block[to_c, to_z] = self._rescaled(source, stored)
        return block

    def read_stored(self, plane: Plane) -> NDArray[Any]:
        """Return the rescaled values (Y, X, samples) of one plane."""
        source = _source(plane)
        rows = slice(0, source.layout.rows)
        ((_, stored),) = self._read_rows([source], rows)
        return self._rescaled(source, stored)

    def _rescaled(self, source: _Source, stored: NDArray[Any]) -> NDArray[Any]:
        values = _used_bits(stored, source.layout)
        if self.dtype.kind in "iu":
            # Modulo the width of the type, in which every result is known to fit.
            whole = values.astype(self.dtype)
            if source.slope != 1:
                whole *= _wrapped(source.slope, self.dtype)
            if source.intercept != 0:
                whole += _wrapped(source.intercept, self.dtype)
            return whole
        with np.errstate(over="ignore", invalid="ignore"):  # absurd scales
            real = values.astype(np.float64) * source.slope + source.intercept
            return _cast(real * self._factor, self.dtype)

    def _read_rows(
        self, sources: Iterable[_Source], rows: slice
    ) -> Iterator[tuple[_Source, NDArray[Any]]]:
        """Read stored rows (Y, X, samples), in the order in which they lie in files."""
        ordered = sorted(sources, key=lambda source: (source.path, source.index))
        plain = [source for source in ordered if source.is_plain]
        yield from _read_plain(plain, rows)
        coded = [source for source in ordered if not source.is_plain]
        guarded = self._guarded(coded)
        for source in coded:
            yield source, self._decoded(source, guarded)[rows]

    def _guarded(self, coded: Iterable[_Source]) -> Mapping[Path, NDArray[Any]]:
        """Decode what pydicom cannot, all files in one child process."""
        hard = {
            source.path: source
            for source in coded
            if not is_decodable(source.layout.transfer_syntax)
            and self._find(source) is None
        }
        if not hard:
            return {}
        return decode_guarded(
            {path: source.layout for path, source in hard.items()},
            {path: (source.slope, source.intercept) for path, source in hard.items()},
        )

    def _find(self, source: _Source) -> NDArray[Any] | None:
        with self._lock:
            found = self._cached.get((source.path, source.index))
            if found is not None:
                self._cached.move_to_end((source.path, source.index))
            return found

    def _decoded(
        self, source: _Source, guarded: Mapping[Path, NDArray[Any]]
    ) -> NDArray[Any]:
        found = self._find(source)
        if found is not None:
            return found
        if source.path in guarded:
            frame = np.array(guarded[source.path][source.index])
        else:
            frame = decode_frame(source.path, source.layout, source.index)
        with self._lock:
            self._cached[(source.path, source.index)] = frame
            held = sum(each.nbytes for each in self._cached.values())
            while held > _CACHE_BYTES and len(self._cached) > 1:
                held -= self._cached.popitem(last=False)[1].nbytes
        return frame


def _source(plane: Plane) -> _Source:
    layout = plane.instance.layout
    assert layout is not None  # noqa: S101 - no image without pixels
    frame = plane.frame
    return _Source(
        plane.instance.path, layout, frame.index, frame.slope, frame.intercept
    )


def _output_type(sources: Iterable[_Source], factor: float) -> np.dtype[Any]:
    """Choose the smallest integers that hold every value exactly, else float32."""
    sources = list(sources)
    kinds = {source.layout.kind for source in sources}
    if "double" in kinds:
        return np.dtype(np.float64)
    scales = {
        (s.layout.stored, s.layout.is_signed, s.slope, s.intercept) for s in sources
    }
    is_whole = all(
        number % 1 == 0 and abs(number) < _LARGEST_SCALE
        for _, _, *scale in scales
        for number in scale
    )
    if kinds != {"integer"} or factor != 1 or not is_whole:
        return np.dtype(np.float32)
    ends = []
    for bits, is_signed, slope, intercept in scales:
        low = -(2 ** (bits - 1)) if is_signed else 0
        for end in (low, low + 2**bits - 1):
            ends.append(int(slope) * end + int(intercept))
    for name in _INTEGERS:
        limits = np.iinfo(name)
        if limits.min <= min(ends) and max(ends) <= limits.max:
            return np.dtype(name)
    return np.dtype(np.float32)


def _used_bits(stored: NDArray[Any], layout: PixelLayout) -> NDArray[Any]:
    """Drop what lies in unused bits, such as overlays, and extend the sign."""
    if layout.kind != "integer" or layout.stored >= layout.allocated:
        return stored
    wide = stored.astype(np.int64) >> (layout.high + 1 - layout.stored)
    wide &= (1 << layout.stored) - 1
    if layout.is_signed:
        half = 1 << (layout.stored - 1)
        wide = (wide ^ half) - half
    return wide


def _wrapped(number: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    wrapped: NDArray[Any] = np.array(int(number), np.int64).astype(dtype)
    return wrapped


def _cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    with np.errstate(over="ignore"):  # beyond float32: infinite
        cast: NDArray[Any] = values.astype(dtype)
    return cast


def _read_plain(
    sources: Iterable[_Source], rows: slice
) -> Iterator[tuple[_Source, NDArray[Any]]]:
    """Read rows at their offsets; a file with several frames is opened once."""
    path: Path | None = None
    file: Any = None
    try:
        for source in sources:
            try:
                if source.path != path:
                    if file is not None:
                        file.close()
                    file, path = open_file(source.path), source.path
                content = _rows_of(file, source, rows)
            except PARSE_ERRORS as error:
                raise ReadError(
                    found=f"{source.path} is missing, damaged or cut off",
                    needed="a whole file",
                    do="copy or export the series again",
                ) from error
            yield source, content
    finally:
        if file is not None:
            file.close()


def _rows_of(file: Any, source: _Source, rows: slice) -> NDArray[Any]:
    """Read rows (Y, X, samples)."""
    layout = source.layout
    dtype = stored_type(layout)
    start = layout.offset + source.index * layout.frame_bytes
    count = rows.stop - rows.start
    planes = layout.samples if layout.planar else 1
    inner = 1 if layout.planar else layout.samples
    row = layout.columns * inner * dtype.itemsize
    parts = []
    for plane in range(planes):
        file.seek(start + (plane * layout.rows + rows.start) * row)
        content = file.read(count * row)
        if len(content) != count * row:
            msg = "cut off"
            raise EOFError(msg)
        part = np.frombuffer(content, dtype)
        parts.append(part.reshape(count, layout.columns, inner))
    return parts[0] if planes == 1 else np.concatenate(parts, axis=2)
