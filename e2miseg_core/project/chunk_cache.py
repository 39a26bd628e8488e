"""A zarr array as an editable one: decoded chunks in memory, written back later.

Nothing that draws or paints waits for a write. Chunks are read outside the lock that
painting needs, so a slow disk does not hold up a stroke elsewhere.
"""

import collections
import itertools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    bounding_box,
    box_shape,
    box_slices,
    clip_box,
    common_box,
    make_box,
    slices_within,
    whole_box,
)
from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.project.keys import index_volume

if TYPE_CHECKING:
    import threading

__all__ = ["CachedVolume", "Index"]

# Of a chunk, along Z, Y, X.
Index: TypeAlias = tuple[int, int, int]
Slices: TypeAlias = tuple[slice, slice, slice]

_LARGEST_READ = 256  # chunks in one call of zarr, which decodes them side by side
_FAULTS = (OSError, ValueError, KeyError, TypeError, RuntimeError)


class CachedVolume:
    """A 3D zarr array (Z, Y, X) that answers like a numpy array.

    Parameters
    ----------
    path : Path
        Of the array.
    lock : RLock
        Taken to look at or change chunks in memory; several volumes may share it.
    writable : bool
        Whether chunks may be changed and written back.
    max_chunks : int
        Chunks kept in memory, beside those not yet written back. A chunk of one value
        takes no memory.
    on_write : callable, optional
        Gets (key, values) of each assignment; without it assignments are refused.

    Raises
    ------
    ReadError
        If there is no such array.
    """

    ndim = 3

    def __init__(
        self,
        path: Path,
        *,
        lock: "threading.RLock",
        writable: bool = False,
        max_chunks: int = 2048,
        on_write: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self.path, self._lock, self._on_write = path, lock, on_write
        self._array = _open(path, writable=writable)
        z, y, x = (int(size) for size in self._array.shape)
        self.shape = (z, y, x)
        self.chunks: tuple[int, ...] = tuple(self._array.chunks)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        self.size = math.prod(self.shape)
        self._max_chunks = max_chunks
        self._chunks: collections.OrderedDict[Index, NDArray[Any]] = (
            collections.OrderedDict()
        )
        self._stamps = itertools.count()
        self._dirty: dict[Index, int] = {}  # the stamp of the latest change
        # For each read from disk under way, the chunks that were written meanwhile.
        self._spoiled: list[set[Index]] = []

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = self.read(whole_box(self.shape))
        return values.astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        return index_volume(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._on_write is None:
            msg = "these voxels follow from others and cannot be set"
            raise TypeError(msg)
        self._on_write(key, value)

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box inside the volume."""
        out = np.empty(box_shape(box), self.dtype)
        chunks = self.load(box)
        for index, source, target in self._parts(box):
            out[target] = chunks[index][source]
        return out

    def load(self, box: Box) -> dict[Index, NDArray[Any]]:
        """Bring the chunks of a box to memory, and return them.

        Raises
        ------
        ReadError
            If one is damaged.
        """
        wanted = list(self._indices(box))
        found: dict[Index, NDArray[Any]] = {}
        while True:
            spoiled: set[Index] = set()
            with self._lock:
                for index in wanted:
                    if index in self._chunks:
                        self._chunks.move_to_end(index)
                        found[index] = self._chunks[index]
                missing = [index for index in wanted if index not in found]
                if not missing:
                    return found
                self._spoiled.append(spoiled)
            try:
                fetched = self._fetch(missing)
            finally:
                with self._lock:
                    self._spoiled = [s for s in self._spoiled if s is not spoiled]
            with self._lock:
                for index, chunk in fetched.items():
                    if index in self._chunks or index not in spoiled:
                        found[index] = self._chunks.setdefault(index, chunk)
                self._evict()

    def put(
        self, box: Box, values: NDArray[Any], mask: NDArray[np.bool_] | None = None
    ) -> None:
        """Change voxels in memory; they are on disk after `write_back`.

        Parameters
        ----------
        box : Box
            Inside the volume.
        values : ndarray, shape of the box
        mask : ndarray of bool, shape of the box, optional
            Which of them to take; all if not given.
        """
        with self._lock:
            chunks = self.load(box)  # no longer in memory if there are very many
            for index, inside, part in self._parts(box):
                where = True if mask is None else mask[part]
                if mask is not None and not np.any(where):
                    continue
                chunk = chunks[index]
                if not chunk.flags.writeable:
                    chunk = chunk.copy()
                self._chunks[index] = chunk
                np.copyto(chunk[inside], values[part], where=where)
                self._dirty[index] = next(self._stamps)

    @property
    def dirty(self) -> list[Index]:
        """Chunks that differ from those on disk."""
        with self._lock:
            return list(self._dirty)

    def holds(self, index: Index) -> bool:
        """Whether a chunk is in memory."""
        with self._lock:
            return index in self._chunks

    def forget(self, index: Index) -> None:
        """Let go of a chunk, unless it still has to be written back."""
        with self._lock:
            if index not in self._dirty:
                self._chunks.pop(index, None)

    def write_back(
        self,
        index: Index,
        *,
        before: Callable[[], None],
        precious: Callable[[], bool] = lambda: True,
    ) -> None:
        """Write a changed chunk to disk. One thread at a time.

        Parameters
        ----------
        index : tuple of int
            Of the chunk.
        before : callable
            Called when it is settled what is written, before it is written.
        precious : callable
            Asked after it is written whether it must survive a loss of power.

        Raises
        ------
        WriteError
            If the system refuses; the chunk stays in memory.
        """
        with self._lock:
            if index not in self._dirty:
                return
            stamp, chunk = self._dirty[index], self._chunks[index].copy()
        before()
        with writing_to(self.path):
            self._array[box_slices(self.chunk_box(index))] = chunk
            if precious():
                self._sync(index)
        with self._lock:
            for spoiled in self._spoiled:
                spoiled.add(index)
            if self._dirty[index] == stamp:
                del self._dirty[index]
                self._chunks[index] = _compact(chunk)
                self._evict()

    def chunk_box(self, index: Index) -> Box:
        """Voxels of a chunk."""
        start = [i * size for i, size in zip(index, self.chunks, strict=True)]
        return clip_box(make_box(start, self.chunks), self.shape)

    def _indices(self, box: Box) -> Iterator[Index]:
        z, y, x = (
            range(low // size, -(-high // size)) if high > low else range(0)
            for (low, high), size in zip(box, self.chunks, strict=True)
        )
        yield from itertools.product(z, y, x)

    def _parts(self, box: Box) -> Iterator[tuple[Index, Slices, Slices]]:
        """Chunks of a box; what of each is meant, and where that is in the box."""
        for index in self._indices(box):
            chunk = self.chunk_box(index)
            common = common_box(chunk, box)
            yield index, slices_within(common, chunk), slices_within(common, box)

    def _fetch(self, missing: list[Index]) -> dict[Index, NDArray[Any]]:
        chunks: dict[Index, NDArray[Any]] = {}
        for row in _rows(missing):
            if self._file(row[0]).parent.is_dir():
                chunks.update(self._fetch_row(row))
            else:  # nothing was ever written there: zarr would look for each file
                empty = np.asarray(self._array.fill_value, self.dtype)
                for index in row:
                    size = box_shape(self.chunk_box(index))
                    chunks[index] = np.broadcast_to(empty, size)
        return chunks

    def _fetch_row(self, row: list[Index]) -> dict[Index, NDArray[Any]]:
        """Read neighbouring chunks along X."""
        box = bounding_box(self.chunk_box(index) for index in row)
        try:
            block = np.asarray(self._array[box_slices(box)])
        except _FAULTS as error:
            raise ReadError(
                found=f"{self.path} is damaged ({error})",
                needed="the chunks as they were written",
                do="copy them from a backup",
            ) from error
        return {
            index: _compact(block[slices_within(self.chunk_box(index), box)])
            for index in row
        }

    def _file(self, index: Index) -> Path:
        """Where a chunk is, if it is not all zeros."""
        return self.path / self._array.metadata.encode_chunk_key(index)

    def _evict(self) -> None:
        surplus = len(self._chunks) - self._max_chunks
        if surplus <= 0:
            return
        clean = (index for index in self._chunks if index not in self._dirty)
        for index in list(itertools.islice(clean, surplus)):
            del self._chunks[index]

    def _sync(self, index: Index) -> None:
        """Have the file of a chunk, if there is one, survive a loss of power."""
        file = self._file(index)
        if file.exists():  # a chunk of zeros has none
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def _open(path: Path, *, writable: bool) -> "zarr.Array[Any]":
    try:
        array = zarr.open_array(str(path), mode="r+" if writable else "r")
    except _FAULTS as error:
        raise ReadError(
            found=f"{path} is missing or damaged ({error})",
            needed="a zarr array",
            do="copy it from a backup",
        ) from error
    if array.ndim != 3 or array.dtype.kind not in "bu":
        raise ReadError(
            found=f"{path} holds {array.dtype} along {array.ndim} axes",
            needed="whole numbers along Z, Y, X",
            do="choose another store",
        )
    return array


def _compact(chunk: NDArray[Any]) -> NDArray[Any]:
    """Keep a chunk of one value as one value, another as an array of its own."""
    first = chunk.flat[0]
    if (chunk == first).all():
        return np.broadcast_to(np.asarray(first), chunk.shape)
    return chunk if chunk.base is None and chunk.flags.writeable else chunk.copy()


def _rows(indices: list[Index]) -> Iterator[list[Index]]:
    """Split chunks into full rows, so that none is read that is not missing."""
    row: list[Index] = []
    for index in sorted(indices):
        adjoins = row and index == (*row[-1][:2], row[-1][2] + 1)
        if row and (not adjoins or len(row) == _LARGEST_READ):
            yield row
            row = []
        row.append(index)
    if row:
        yield row
