"""Compressed streams of voxels, read from start to end; how much they can hold."""

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from indexed_gzip import ZranError

from e2miseg_core.errors import ReadError

__all__ = [
    "COMPRESSIONS",
    "DamagedStreamError",
    "Stream",
    "drain",
    "fill",
    "most_bytes",
]

# The most that one byte can hold, by theory and by trial: deflate codes at best 258
# bytes in 2 bits; bzip2 codes 45,899,235 equal bytes in a block of about 32 bytes.
_MOST = {"": 1, "gzip": 1040, "zlib": 1040, "deflate": 1040, "bz2": 1_500_000}
COMPRESSIONS = tuple(_MOST)
PIECE = 1 << 20  # unpacked at once


def most_bytes(compression: str, stored: int) -> int:
    """Bytes that `stored` bytes can hold at the very most."""
    return stored * _MOST[compression]


class DamagedStreamError(ReadError):
    """The file itself is to blame: reading it again will not help."""


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
    stamp: tuple[int, int]

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Yield the unpacked bytes from the first voxel on.

        Raises
        ------
        ReadError
            If the file has changed since it was opened; then too if what is done in
            the block finds it damaged or cut off.
        """
        with self.telling(), self.path.open("rb") as file:
            self.check_unchanged()
            file.seek(self.offset)
            unpacked: Any
            if self.compression == "gzip":
                unpacked = gzip.GzipFile(fileobj=file)
            elif self.compression == "bz2":
                unpacked = bz2.BZ2File(file)
            else:
                is_bare = self.compression == "deflate"  # as in zip files
                window = -zlib.MAX_WBITS if is_bare else zlib.MAX_WBITS
                unpacked = io.BufferedReader(_ZlibReader(file, window), PIECE)
            with unpacked:
                _pass_over(unpacked, self.skip)
                yield unpacked

    def check_unchanged(self) -> None:
        """Raise ReadError if the file is not the one whose header was read."""
        stat = self.path.stat()
        if (stat.st_size, stat.st_mtime_ns) != self.stamp:
            raise DamagedStreamError(
                found=f"{self.path} has changed since it was opened",
                needed="the file as it was",
                do="open it again",
            )

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell damage in one line, as ReadError."""
        try:
            yield
        except ReadError:
            raise
        except (OSError, EOFError, ValueError, zlib.error, ZranError) as error:
            raise DamagedStreamError(
                found=f"{self.path} is damaged or cut off ({error})",
                needed="a whole file",
                do="copy or export the file again",
            ) from error


def fill(file: IO[bytes], target: memoryview) -> None:
    """Read until the target is full; EOFError if the stream ends before."""
    at = 0
    while at < len(target):
        count = file.readinto(target[at : at + PIECE])  # type: ignore[attr-defined]
        if not count:
            msg = f"it ends {len(target) - at} bytes too early"
            raise EOFError(msg)
        at += count


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


class _ZlibReader(io.RawIOBase):
    """A zlib stream as a file, of which the standard library has none."""

    def __init__(self, file: IO[bytes], window: int) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj(window)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(PIECE)
            piece = self._unpacker.decompress(packed, len(target))
            if piece:
                target[: len(piece)] = piece
                return len(piece)
            if not packed:
                msg = "the compressed stream has no end"
                raise EOFError(msg)
        return 0
