"""A zarr array as an editable one: decoded chunks in memory, written back later.

Nothing that draws or paints waits for a write. Chunks are read outside the lock that
painting needs, so a slow disk does not hold up a stroke elsewhere.
"""

import collections
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    box_shape,
    common_box,
    slices_within,
)
from e2miseg_core.chunks import Index, chunks_of, compact
from e2miseg_core.project.chunk_files import ChunkFiles
from e2miseg_core.project.keys import LazyVolume

if TYPE_CHECKING:
    import threading

__all__ = ["CachedVolume"]

Slices: TypeAlias = tuple[slice, slice, slice]


class CachedVolume(LazyVolume):
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

    def __init__(
        self,
        path: Path,
        *,
        lock: "threading.RLock",
        writable: bool = False,
        max_chunks: int = 2048,
        on_write: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self._lock, self._on_write = lock, on_write
        self._files = files = ChunkFiles(path, writable=writable)
        self.path, self.shape, self.chunks = path, files.shape, files.chunks
        self.dtype, self.size = files.dtype, files.size
        self._max_chunks = max_chunks
        self._chunks: collections.OrderedDict[Index, NDArray[Any]] = (
            collections.OrderedDict()
        )
        self._stamps = itertools.count()
        self._dirty: dict[Index, int] = {}  # the stamp of the latest change
        # For each read from disk under way, the chunks that were written meanwhile.
        self._spoiled: list[set[Index]] = []

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
        wanted = list(chunks_of(box, self.chunks))
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
                fetched = self._files.read(missing)
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
        self._files.write(index, chunk, precious=precious)
        with self._lock:
            for spoiled in self._spoiled:
                spoiled.add(index)
            if self._dirty[index] == stamp:
                del self._dirty[index]
                self._chunks[index] = compact(chunk)
                self._evict()

    def chunk_box(self, index: Index) -> Box:
        """Voxels of a chunk."""
        return self._files.box(index)

    def _parts(self, box: Box) -> Iterator[tuple[Index, Slices, Slices]]:
        """Chunks of a box; what of each is meant, and where that is in the box."""
        for index in chunks_of(box, self.chunks):
            chunk = self.chunk_box(index)
            common = common_box(chunk, box)
            yield index, slices_within(common, chunk), slices_within(common, box)

    def _evict(self) -> None:
        surplus = len(self._chunks) - self._max_chunks
        if surplus <= 0:
            return
        clean = (index for index in self._chunks if index not in self._dirty)
        for index in list(itertools.islice(clean, surplus)):
            del self._chunks[index]
