"""Decoded chunks in memory: the next slices lie in the chunks of this one."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import psutil
from numpy.typing import NDArray

from e2miseg_core.boxes import Box as Bounds
from e2miseg_core.boxes import bounding_box, box_slices, common_box, slices_within
from e2miseg_core.chunks import Index, chunk_box, chunks_of, compact, rows_of
from e2miseg_core.io.lazy import Box, DiskArray

__all__ = ["DecodedChunks"]

Key: TypeAlias = tuple[int, int, Index]  # array, channel, chunk

_MOST_BYTES = 512 << 20
_PART_OF_MEMORY = 16


class _Held:
    """The chunks used last, of all arrays together."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._lock = threading.Lock()
        self._chunks: OrderedDict[Key, NDArray[Any]] = OrderedDict()

    def get(self, key: Key) -> NDArray[Any] | None:
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
            return self._chunks.get(key)

    def put(self, key: Key, chunk: NDArray[Any]) -> None:
        with self._lock:
            old = self._chunks.pop(key, None)
            self.bytes -= 0 if old is None else _cost(old)
            self._chunks[key] = chunk
            self.bytes += _cost(chunk)
            while self.bytes > self.limit:
                _, oldest = self._chunks.popitem(last=False)
                self.bytes -= _cost(oldest)

    def forget(self, array: int) -> None:
        with self._lock:
            for key in [key for key in self._chunks if key[0] == array]:
                self.bytes -= _cost(self._chunks.pop(key))


def _cost(chunk: NDArray[Any]) -> int:
    return chunk.itemsize if chunk.base is not None else chunk.nbytes


_HELD = _Held(min(_MOST_BYTES, psutil.virtual_memory().total // _PART_OF_MEMORY))
_numbers = itertools.count()


class DecodedChunks:
    """A `DiskArray` over another one that keeps the chunks it had to decode.

    Parameters
    ----------
    disk : DiskArray
        Shape (C, Z, Y, X).
    unit : tuple of int
        Voxels along the stored Z, Y, X that are decoded together.
    """

    def __init__(self, disk: DiskArray, unit: tuple[int, int, int]) -> None:
        self._disk, self._unit = disk, unit
        self.shape, self.dtype = disk.shape, disk.dtype
        self._number = next(_numbers)

    def __del__(self) -> None:
        _HELD.forget(self._number)

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        bounds = _bounds_of(box)
        out = np.empty([part.stop - part.start for part in box], self.dtype)
        for at, channel in enumerate(range(box[0].start, box[0].stop)):
            for chunk, voxels in self._chunks(channel, bounds):
                common = common_box(chunk, bounds)
                target = (at, *slices_within(common, bounds))
                out[target] = voxels[slices_within(common, chunk)]
        return out

    def _chunks(
        self, channel: int, bounds: Bounds
    ) -> Iterator[tuple[Bounds, NDArray[Any]]]:
        """Chunks that a box touches; all that are missing are read at once."""
        missing = []
        for index in chunks_of(bounds, self._unit):
            held = _HELD.get((self._number, channel, index))
            if held is None:
                missing.append(index)
            else:
                yield self._bounds(index), held
        for row in rows_of(missing):
            hull = bounding_box(self._bounds(index) for index in row)
            where = (slice(channel, channel + 1), *box_slices(hull))
            block = self._disk.read(where)[0]
            for index in row:
                chunk = self._bounds(index)
                voxels = compact(block[slices_within(chunk, hull)])
                _HELD.put((self._number, channel, index), voxels)
                yield chunk, voxels

    def _bounds(self, index: Index) -> Bounds:
        return chunk_box(index, self._unit, self.shape[1:])


def _bounds_of(box: Box) -> Bounds:
    """Return (start, stop) along Z, Y, X of a box of slices (C, Z, Y, X)."""
    z, y, x = ((part.start, part.stop) for part in box[1:])
    return z, y, x
