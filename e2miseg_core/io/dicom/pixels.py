"""Voxels of a stack: a box reads the rows of its slices, and no others."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.dicom.decoding import decode_frame, decode_guarded, is_decodable
from e2miseg_core.io.dicom.rows import PlaneSource, read_plain
from e2miseg_core.io.dicom.samples import cast_values, output_type, used_bits, wrapped
from e2miseg_core.io.dicom.stack import Plane, Stack
from e2miseg_core.io.lazy import Box

__all__ = ["DicomPixels"]

_CACHE_BYTES = 128 << 20  # decoded planes, for views across the slices


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
        self.dtype = output_type(found, factor)
        self._empty = cast_values(np.array(empty), self.dtype)
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
        wanted: dict[PlaneSource, list[tuple[int, int, int]]] = {}
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

    def _rescaled(self, source: PlaneSource, stored: NDArray[Any]) -> NDArray[Any]:
        values = used_bits(stored, source.layout)
        if self.dtype.kind in "iu":
            # Modulo the width of the type, in which every result is known to fit.
            whole = values.astype(self.dtype)
            if source.slope != 1:
                whole *= wrapped(source.slope, self.dtype)
            if source.intercept != 0:
                whole += wrapped(source.intercept, self.dtype)
            return whole
        with np.errstate(over="ignore", invalid="ignore"):  # absurd scales
            real = values.astype(np.float64) * source.slope + source.intercept
            return cast_values(real * self._factor, self.dtype)

    def _read_rows(
        self, sources: Iterable[PlaneSource], rows: slice
    ) -> Iterator[tuple[PlaneSource, NDArray[Any]]]:
        """Read stored rows (Y, X, samples), in the order in which they lie in files."""
        ordered = sorted(sources, key=lambda source: (source.path, source.index))
        plain = [source for source in ordered if source.is_plain]
        yield from read_plain(plain, rows)
        coded = [source for source in ordered if not source.is_plain]
        guarded = self._guarded(coded)
        for source in coded:
            yield source, self._decoded(source, guarded)[rows]

    def _guarded(self, coded: Iterable[PlaneSource]) -> Mapping[Path, NDArray[Any]]:
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

    def _find(self, source: PlaneSource) -> NDArray[Any] | None:
        with self._lock:
            found = self._cached.get((source.path, source.index))
            if found is not None:
                self._cached.move_to_end((source.path, source.index))
            return found

    def _decoded(
        self, source: PlaneSource, guarded: Mapping[Path, NDArray[Any]]
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


def _source(plane: Plane) -> PlaneSource:
    layout = plane.instance.layout
    assert layout is not None  # noqa: S101 - no image without pixels
    frame = plane.frame
    return PlaneSource(
        plane.instance.path, layout, frame.index, frame.slope, frame.intercept
    )
