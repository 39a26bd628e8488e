"""A big compressed image, unpacked once into a chunked copy in the cache.

A compressed stream can only be read from its start. So one thread unpacks it slab by
slab into a zarr array; planes that are there can be read at once, others are waited
for. Where another process is at the same file already, this one reads its copy along.
"""

import atexit
import concurrent.futures.thread  # noqa: F401 - its threads are to end after ours
import math
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import Cancelled, ReadError
from e2miseg_core.io.cache.folder import check_room, telling_of_the_cache
from e2miseg_core.io.cache.keeping import entry_key, find_entry, find_unfinished, making
from e2miseg_core.io.lazy import Box
from e2miseg_core.io.raw.unchanged import DamagedStreamError, fill
from e2miseg_core.io.raw.unpack import Stream, drain
from e2miseg_core.io.raw.unpack_chunks import (
    Shape,
    chunk_shape,
    create_copy,
    read_copy,
    read_report,
    slabs,
    write_report,
)
from e2miseg_core.progress import Progress

__all__ = ["Unpacking", "User", "unpacking_of"]

_POLL_SECONDS = 0.1  # for what another process does
_REPORT_SECONDS = 0.2  # between two words to other processes


class User:
    """Who reads a copy; each may cancel for itself."""

    def __init__(self) -> None:
        self.n_cancelled = 0


class Unpacking:
    """The copy of one file, which is there or on its way, for all who read it.

    Parameters
    ----------
    stream : Stream
        The voxels.
    shape : tuple of four int
        Of the array as the stream holds it, slowest axis first.
    dtype : numpy.dtype
        Of the array as the stream holds it.
    """

    def __init__(self, stream: Stream, shape: Shape, dtype: np.dtype[Any]) -> None:
        self._stream = stream
        self._shape = shape
        self._dtype = dtype
        self._chunks = chunk_shape(shape, dtype.itemsize)
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        self._is_ended = False
        self._folder: Path | None = None
        self._done = 0
        self._error: ReadError | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return unpacking_of, (self._stream, self._shape, self._dtype)

    @property
    def total(self) -> int:
        """Bytes to be unpacked."""
        return self._stream.nbytes

    @property
    def done(self) -> int:
        """Bytes unpacked so far; `total` when nothing is left to do."""
        with self._state:
            if self._thread is None:
                self._look()
            return self._done

    def start(self, user: "User") -> None:
        """Begin in the background, unless it has begun."""
        with self._state:
            self._users.add(user)
            self._start()

    def leave(self, user: "User") -> None:
        """Let those stop who wait for a user, and the work if nobody else wants it."""
        with self._state:
            self._users.discard(user)
            user.n_cancelled += 1
            self._state.notify_all()
            if self._users:
                return
            thread = self._thread
            self._stop.set()
        if thread is not None:
            thread.join()

    def end(self) -> None:
        """Stop for good, because the process ends."""
        with self._state:
            self._is_ended = True
            thread = self._thread
            self._stop.set()
            self._state.notify_all()
        if thread is not None:
            thread.join()

    def waited(self, user: "User", round_: int) -> tuple[bool, Progress]:
        """Wait a little; tell whether the copy is whole and has its name."""
        with self._state:
            finished = self._reached(self.total, _REPORT_SECONDS, user, round_)
            if finished and self._thread is not None:
                finished = False
                self._state.wait(_REPORT_SECONDS)
            step = Progress(done=self._done, total=self.total, stage="unpacking")
        return finished, step

    def read(self, box: Box, user: "User", round_: int) -> NDArray[Any]:
        """Return a box of the stored array, as soon as it is unpacked."""
        needed = self._needed(box)
        while True:
            with self._state:
                while not self._reached(needed, 1.0, user, round_):
                    pass
                folder = self._folder
            block = None if folder is None else read_copy(folder, box)
            if block is not None:
                return block
            self._look_anew(folder)

    def _needed(self, box: Box) -> int:
        """Bytes to be there before a box can be read, to the end of its slab."""
        _, depth, height, width = self._shape
        step = self._chunks[1]
        planes: int = min(math.ceil(box[1].stop / step) * step, depth)
        planes += (box[0].stop - 1) * depth
        return planes * height * width * self._dtype.itemsize

    def _reached(self, needed: int, seconds: float, user: "User", round_: int) -> bool:
        """Start where need be, wait a little, and tell whether so much is there."""
        if self._done >= needed:
            return True
        if user.n_cancelled != round_ or self._is_ended:
            what = f"unpacking {self._stream.path.name}"
            raise Cancelled(what)
        self._users.add(user)
        if self._thread is None:
            self._start()
        if self._error is None and self._done < needed:
            self._state.wait(seconds)
        if self._error is not None:
            raise self._error
        return self._done >= needed

    def _start(self) -> None:
        if self._thread is not None or isinstance(self._error, DamagedStreamError):
            return
        if self._is_ended:
            return
        self._look()
        if self._done == self.total:
            return
        self._stop.clear()
        self._error = None
        self._thread = threading.Thread(target=self._run, name="unpacking", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        """Take the copy, if it is there."""
        if self._done < self.total and (entry := find_entry(self._key())):
            self._folder, self._done = entry, self.total

    def _look_anew(self, folder: Path | None) -> None:
        """Forget a copy that is gone: renamed when it was whole, or removed."""
        with self._state:
            if self._thread is not None:
                self._state.wait(_POLL_SECONDS)
            elif self._folder == folder:
                self._folder, self._done = None, 0

    def _key(self) -> str:
        stream = self._stream
        with stream.telling():
            stream.check_unchanged()
            what = (stream.offset, stream.skip, stream.compression, self._shape)
            return entry_key(stream.path, f"unpacked 1 {what} {self._dtype.str}")

    def _run(self) -> None:
        """Make the copy, or see another process make it."""
        error: ReadError | None = ReadError(
            found=f"unpacking {self._stream.path} stopped",
            needed="a whole copy in the cache",
            do="try again",
        )
        key = ""
        try:
            key = self._key()
            while not self._stop.is_set() and find_entry(key) is None:
                with making(key, self._stream.stamp[0]) as folder:
                    if folder is None:
                        self._follow(key)
                    elif find_entry(key) is None:  # made since, maybe
                        self._make(folder)
            error = None
        except Cancelled:
            error = None
        except ReadError as problem:
            error = problem
        finally:
            self._end(error, key)

    def _end(self, error: ReadError | None, key: str) -> None:
        with self._state:
            self._thread = None
            self._error = error
            self._folder, self._done = None, 0
            if error is None and (entry := find_entry(key)):
                self._folder, self._done = entry, self.total
                self._users.clear()
            self._state.notify_all()

    def _follow(self, key: str) -> None:
        """Take what another process has unpacked so far."""
        folder = find_unfinished(key)
        if folder is not None:
            with self._state:
                self._folder, self._done = folder, read_report(folder)
                self._state.notify_all()
        self._stop.wait(_POLL_SECONDS)

    def _make(self, folder: Path) -> None:
        stream, told = self._stream, 0.0
        with telling_of_the_cache(stream.stamp[0]):
            copy = create_copy(folder, self._shape, self._dtype)
        with stream.open() as file:
            at = 0
            for where, shape in slabs(self._shape, self._chunks, self._dtype.itemsize):
                if self._stop.is_set():
                    raise Cancelled
                slab = np.empty(shape, self._dtype)
                fill(file, slab.reshape(-1).view(np.uint8).data)
                at += slab.nbytes
                if at == self.total:
                    drain(file)  # which compares length and checksum
                with telling_of_the_cache(stream.stamp[0]):
                    copy[where] = slab
                    if time.monotonic() - told > _REPORT_SECONDS:
                        told = time.monotonic()
                        check_room()
                        write_report(folder, at)
                with self._state:
                    self._folder, self._done = folder, at
                    self._state.notify_all()


_known: weakref.WeakValueDictionary[Any, Unpacking] = weakref.WeakValueDictionary()
_known_lock = threading.Lock()


def unpacking_of(stream: Stream, shape: Shape, dtype: np.dtype[Any]) -> Unpacking:
    """Find this process's unpacking of a stream, or begin to keep one."""
    key = (stream, shape, dtype.str)
    with _known_lock:
        known = _known.get(key)
        if known is None:
            known = _known[key] = Unpacking(stream, shape, dtype)
        return known


def _end_all() -> None:
    with _known_lock:
        known = list(_known.values())
    for one in known:
        one.end()


# When a process ends, the threads that zarr needs are stopped before atexit's functions
# are called; this is stopped before them.
getattr(threading, "_register_atexit", atexit.register)(_end_all)
