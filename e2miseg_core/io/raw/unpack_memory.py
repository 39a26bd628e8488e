"""Compressed streams of voxels, kept in memory or read by an index."""

import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
from indexed_gzip import IndexedGzipFile, ZranError
from numpy.typing import NDArray

from e2miseg_core.io.raw.unchanged import PIECE, fill
from e2miseg_core.io.raw.unpack import Stream, drain

__all__ = ["IndexedBytes", "held_bytes"]

_HELD_TOTAL = 256 << 20  # bytes of small images that are kept unpacked in memory
_INDEX_SPACING = 4 << 20  # bytes between points of an index; each takes 32 KiB
_MOST_POINTS = 512


class _Held:
    """Small streams, unpacked; those used longest ago go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[Stream, NDArray[np.uint8]] = OrderedDict()
        self._underway: dict[Stream, threading.Lock] = {}

    def get(self, stream: Stream) -> NDArray[np.uint8]:
        with self._lock:
            own = self._underway.setdefault(stream, threading.Lock())
        with own:  # others may unpack other streams meanwhile
            held = self._find(stream)
            return self._keep(stream, _unpacked(stream)) if held is None else held

    def _find(self, stream: Stream) -> NDArray[np.uint8] | None:
        with self._lock:
            if stream in self._held:
                self._held.move_to_end(stream)
            return self._held.get(stream)

    def _keep(self, stream: Stream, unpacked: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with self._lock:
            self._held[stream] = unpacked
            total = sum(len(held) for held in self._held.values())
            while total > _HELD_TOTAL and len(self._held) > 1:
                oldest, gone = self._held.popitem(last=False)
                self._underway.pop(oldest, None)
                total -= len(gone)
        return unpacked


_HELD = _Held()


def held_bytes(stream: Stream) -> NDArray[np.uint8]:
    """Unpack a small stream into memory, where up to 256 MiB of such are kept.

    Raises
    ------
    ReadError
        If the stream is damaged or too short.
    """
    return _HELD.get(stream)


def _unpacked(stream: Stream) -> NDArray[np.uint8]:
    """Grow with what is really there: the header may lie about the size."""
    content = bytearray()
    with stream.open() as file:
        while missing := stream.nbytes - len(content):
            piece = file.read(min(missing, PIECE))
            if not piece:
                msg = f"it ends {missing} bytes too early"
                raise EOFError(msg)
            content += piece
        drain(file)
    unpacked = np.frombuffer(content, np.uint8)
    unpacked.flags.writeable = False
    return unpacked


class _LaterPart(io.RawIOBase):
    """A file from an offset on, which is open only while it is read.

    There may be thousands of images, but the system lets few files be open.
    """

    mode = "rb"

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self._offset, self._at = path, offset, 0
        self._file: IO[bytes] | None = None
        self._error: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        try:
            if self._file is None:
                self._file = self._path.open("rb")
            self._file.seek(self._offset + self._at)
            piece = self._file.read(len(target))
        except OSError as error:
            self._error = error
            raise
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = 0) -> int:
        size = self._path.stat().st_size - self._offset
        self._at = offset + (0, self._at, size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def release(self) -> OSError | None:
        """Close the file until it is read again; return what the system said."""
        error, self._error = self._error, None
        if self._file is not None:
            self._file.close()
            self._file = None
        return error


class IndexedBytes:
    """Any bytes of a gzip stream, by an index that grows with what has been read."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # one position in one stream
        self._part = _LaterPart(stream.path, stream.offset)
        self._file: Any = IndexedGzipFile(
            fileobj=self._part,
            spacing=max(_INDEX_SPACING, stream.nbytes // _MOST_POINTS),
        )

    def read_into(self, at: int, target: memoryview) -> None:
        """Fill the target with the bytes of the voxels from `at` on."""
        with self._lock:
            said = None
            try:
                self._stream.check_unchanged()
                self._file.seek(self._stream.skip + at)
                fill(self._file, target)
            except ZranError as error:
                # It takes whatever its file raises for damage to the stream.
                said = error
            finally:
                problem = self._part.release()
            if said is not None:
                raise problem or said
