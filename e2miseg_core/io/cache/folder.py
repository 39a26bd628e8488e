"""Where the cache lies, how large it may be, and what the system has against it."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from e2miseg_core.errors import ConfigError, ReadError

__all__ = ["cache_folder", "cache_limit", "check_room", "telling_of_the_cache"]

GIB = 2**30
_FOLDER_VARIABLE = "E2MISEG_CACHE_DIR"
_LIMIT_VARIABLE = "E2MISEG_CACHE_GB"
_DEFAULT_GIB = 20.0
_MOST_GIB = 2.0**30
_SPARE_BYTES = 256 << 20  # left free on the disk, for everybody else


def cache_folder() -> Path:
    """Where entries lie: E2MISEG_CACHE_DIR, or the user's cache; need not exist."""
    if named := os.environ.get(_FOLDER_VARIABLE):
        return Path(named).expanduser()
    return Path(platformdirs.user_cache_dir("e2miseg", appauthor=False))


def cache_limit() -> int:
    """Bytes that entries may take together: E2MISEG_CACHE_GB (GiB), or 20 GiB.

    Raises
    ------
    ConfigError
        If the variable holds no number from 0.
    """
    text = os.environ.get(_LIMIT_VARIABLE, "")
    try:
        size = float(text) if text.strip() else _DEFAULT_GIB
    except ValueError:
        size = -1.0
    if not 0 <= size < _MOST_GIB:
        raise ConfigError(
            found=f"{_LIMIT_VARIABLE}={text}",
            needed="the largest size of the cache in GiB, such as 20",
            do="correct the variable, or unset it",
        )
    return int(size * GIB)


def check_room(expected: int = 0) -> None:
    """Raise OSError before the disk is quite full."""
    if shutil.disk_usage(cache_folder()).free < expected + _SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def telling_of_the_cache(expected: int = 0) -> Iterator[None]:
    """Tell in one line, as ReadError, what the system has against the cache."""
    try:
        yield
    except ReadError:
        raise
    except OSError as error:
        room = f" for {expected / GIB:.1f} GiB or more" if expected else ""
        raise ReadError(
            found=f"the cache folder {cache_folder()} cannot be used "
            f"({error.strerror or error})",
            needed=f"a folder with the right to write, and room{room}",
            do="free space, empty it by `e2miseg doctor --clear-cache`, or name "
            f"another folder in {_FOLDER_VARIABLE}",
        ) from error
