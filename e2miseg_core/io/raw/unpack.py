"""Compressed streams of voxels, read from start to end; how much they can hold."""

import bz2
import io
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from e2miseg_core.io.limits import DEFLATE_RATIO
from e2miseg_core.io.raw.unchanged import (
    PIECE,
    Stamp,
    check_unchanged,
    opened,
    telling,
)

__all__ = ["COMPRESSIONS", "Stream", "drain", "most_bytes"]

# The most that one byte can hold, by theory and by trial: bzip2 codes 45,899,235 equal
# bytes in a block of about 32 bytes.
_MOST = {"": 1, "bz2": 1_500_000} | dict.fromkeys(
    ("gzip", "zlib", "deflate"), DEFLATE_RATIO
)
COMPRESSIONS = tuple(_MOST)
_GZIP = b"\x1f\x8b"
# How zlib is told what lies around deflate's bits; "deflate" is bare, as in zip files.
_WINDOWS = {
    "gzip": 16 + zlib.MAX_WBITS,
    "zlib": zlib.MAX_WBITS,
    "deflate": -zlib.MAX_WBITS,
}


def most_bytes(compression: str, stored: int) -> int:
    """Bytes that `stored` bytes can hold at the very most."""
    return stored * _MOST[compression]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The voxels of a file as one run of bytes.

    Attributes
    ----------
    path : Path
        The file.
    offset : int
        Bytes before the stream.
    compression : str
        "gzip", "bz2", "zlib", or "deflate", which is zlib without its frame.
    skip : int
        Unpacked bytes before the first voxel.
    nbytes : int
        Of all voxels, unpacked.
    stamp : tuple of int
        Size and time (ns) of the file when it was opened.
    """

    path: Path
    offset: int
    compression: str
    skip: int
    nbytes: int
    stamp: Stamp

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Yield the unpacked bytes from the first voxel on.

        Raises
        ------
        ReadError
            If the file has changed since it was opened; then too if what is done in
            the block finds it damaged or cut off.
        """
        with self.telling(), opened(self.path, self.stamp) as file:
            file.seek(self.offset)
            unpacked: Any
            if self.compression == "bz2":
                unpacked = bz2.BZ2File(file)
            else:
                unpacked = io.BufferedReader(_Inflated(file, self.compression), PIECE)
            with unpacked:
                _pass_over(unpacked, self.skip)
                yield unpacked

    def check_unchanged(self) -> None:
        """Raise ReadError if the file is not the one whose header was read."""
        check_unchanged(self.path, self.stamp)

    def telling(self) -> AbstractContextManager[None]:
        """Tell in one line, as ReadError, what is wrong with reading the file."""
        return telling(self.path)


def drain(file: IO[bytes]) -> None:
    """Read to the end, where length and checksum of the stream are compared."""
    while file.read(PIECE):
        pass


def _pass_over(file: IO[bytes], count: int) -> None:
    while count:
        piece = file.read(min(count, PIECE))
        if not piece:
            msg = "it ends before the first voxel"
            raise EOFError(msg)
        count -= len(piece)


class _Inflated(io.RawIOBase):
    """A stream of deflate as a file; what lies behind its end is passed over.

    The standard library has none for zlib, and its one for gzip takes bytes behind the
    end, which some programs and transfers leave there, for damage.
    """

    def __init__(self, file: IO[bytes], compression: str) -> None:
        self._file = file
        self._kind = compression
        self._unpacker = zlib.decompressobj(_WINDOWS[compression])
        self._ahead = b""  # read, and not unpacked

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._unpacker.eof or self._goes_on():
            packed = self._ahead or self._file.read(PIECE)
            piece = self._unpacker.decompress(packed, len(target))
            self._ahead = self._unpacker.unconsumed_tail
            if piece:
                target[: len(piece)] = piece
                return len(piece)
            if not packed:
                msg = "the compressed stream has no end"
                raise EOFError(msg)
        return 0

    def _goes_on(self) -> bool:
        """Begin the next part of a gzip stream, if one follows, maybe after zeros."""
        if self._kind != "gzip":
            return False
        rest = self._unpacker.unused_data.lstrip(b"\0")
        while len(rest) < len(_GZIP) and (more := self._file.read(PIECE)):
            rest = (rest + more).lstrip(b"\0")
        if not rest.startswith(_GZIP):
            return False
        self._unpacker = zlib.decompressobj(_WINDOWS["gzip"])
        self._ahead = rest
        return True
