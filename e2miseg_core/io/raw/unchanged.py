"""Files that are read as they were when they were opened, or not at all."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from indexed_gzip import ZranError

from e2miseg_core.errors import ReadError
from e2miseg_core.io.system_errors import system_error

__all__ = [
    "PIECE",
    "DamagedStreamError",
    "Stamp",
    "check_unchanged",
    "fill",
    "opened",
    "stamp_of",
    "telling",
]

PIECE = 1 << 20  # bytes that are read at once

Stamp: TypeAlias = tuple[int, int]


class DamagedStreamError(ReadError):
    """The file itself is to blame: reading it again will not help."""


def stamp_of(stat: os.stat_result) -> Stamp:
    """Size and time (ns) of a file, by which a change is found."""
    return stat.st_size, stat.st_mtime_ns


def check_unchanged(path: Path, stamp: Stamp) -> None:
    """Raise ReadError if a file is not the one whose header was read."""
    _compare(path, path.stat(), stamp)


@contextmanager
def opened(path: Path, stamp: Stamp) -> Iterator[IO[bytes]]:
    """Yield an unbuffered file that is as it was.

    Raises
    ------
    ReadError
        If it has changed.
    """
    with path.open("rb", buffering=0) as file:
        _compare(path, os.fstat(file.fileno()), stamp)
        yield file


def _compare(path: Path, stat: os.stat_result, stamp: Stamp) -> None:
    if stamp_of(stat) != stamp:
        raise DamagedStreamError(
            found=f"{path} has changed since it was opened",
            needed="the file as it was",
            do="open it again",
        )


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Tell in one line, as ReadError, that a file is damaged, or cannot be read now."""
    try:
        yield
    except ReadError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, ZranError) as error:
        if (said := system_error(path, error)) is not None:
            raise said from error
        raise DamagedStreamError(
            found=f"{path} is damaged or cut off ({error})",
            needed="a whole file",
            do="copy or export the file again",
        ) from error


def fill(file: Any, target: memoryview) -> None:
    """Read until the target is full; EOFError if the file or stream ends before."""
    at = 0
    while at < len(target):
        count = file.readinto(target[at : at + PIECE])
        if not count:
            msg = f"it ends {len(target) - at} bytes too early"
            raise EOFError(msg)
        at += count
