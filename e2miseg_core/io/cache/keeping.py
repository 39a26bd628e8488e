"""The cache: where copies of images lie that are made once, to be read faster.

An entry is a folder, named by the path, size and time of its source and by what it is
for, so a changed source gets a new entry and the old one goes. It is filled under
``making/`` and renamed when it is whole; who fills it holds a lock that the system
releases if the process dies. Processes say by marker files which entries they use.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from e2miseg_core.io.cache.entry import (
    ABOUT,
    describe,
    discard,
    entries_folder,
    locks_folder,
    making_folder,
    prepare_folders,
    read_about,
    remove_unfinished,
    users_folder,
)
from e2miseg_core.io.cache.folder import (
    cache_folder,
    cache_limit,
    check_room,
    telling_of_the_cache,
)
from e2miseg_core.io.cache.users import in_use, mark_used

__all__ = [
    "CacheEntry",
    "cache_folder",
    "cache_limit",
    "clear",
    "entry_key",
    "find_entry",
    "find_unfinished",
    "key_of",
    "list_entries",
    "making",
    "trim",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One copy in the cache.

    Attributes
    ----------
    key : str
        Its name.
    nbytes : int
        On the disk.
    used : float
        When it was used last, in seconds since 1970.
    """

    key: str
    nbytes: int
    used: float


def entry_key(path: Path, purpose: str) -> str:
    """Name the entry for a file as it is now.

    Parameters
    ----------
    path : Path
        The source; it must exist.
    purpose : str
        What the entry holds, with all that the source does not settle.

    Returns
    -------
    str
        Of two parts: the first one stays the same when the source changes.
    """
    stat = path.stat()
    return key_of(f"{path.resolve()}\n{purpose}", f"{stat.st_size} {stat.st_mtime_ns}")


def key_of(source: str, version: str) -> str:
    """Name the entry for a source that is known by its name and its version."""
    same = _hash(source)
    return f"{same}-{_hash(f'{same} {version}')}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:24]


def find_entry(key: str) -> Path | None:
    """Find a whole entry, and keep it until this process ends.

    Returns
    -------
    Path or None
        The folder. Who reads it must look afterwards whether it is still there: in
        the instant before the mark, another process may have removed it.
    """
    folder = entries_folder() / key
    if not (folder / ABOUT).is_file():
        return None
    with suppress(OSError):  # a cache that may only be read serves as well
        mark_used(users_folder(), key)
        os.utime(folder / ABOUT)
    # Programs that tidy up remove single files, and a missing chunk would read as 0.
    if describe(folder) == read_about(folder):
        return folder
    discard(folder)
    return None


def find_unfinished(key: str) -> Path | None:
    """Find the folder that another process is filling."""
    found = sorted(making_folder().glob(f"{key}.*"), key=_age)
    return found[0] if found else None


@contextmanager
def making(key: str, expected: int) -> Iterator[Path | None]:
    """Fill a new entry, unless another process is at it.

    Parameters
    ----------
    key : str
        Of the entry.
    expected : int
        Bytes that it takes at the least; older entries make room for them.

    Yields
    ------
    Path or None
        An empty folder that becomes the entry if the block ends without an exception,
        and is removed otherwise; None while another process fills the entry.

    Raises
    ------
    ReadError
        If the cache cannot be written, or the disk is full.
    """
    with telling_of_the_cache(expected):
        prepare_folders()
        lock = FileLock(locks_folder() / f"{key}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield None
            return
        try:
            for remains in making_folder().glob(f"{key}.*"):  # nobody else has the lock
                discard(remains)
            trim(expected)
            check_room(expected)
            folder = making_folder() / f"{key}.{secrets.token_hex(4)}"
            folder.mkdir()
            try:
                yield folder
                _publish(folder, key)
            finally:
                remove_unfinished(folder)
        finally:
            lock.release()
        trim()


def list_entries() -> list[CacheEntry]:
    """Whole entries, the one used longest ago first."""
    found = []
    for about in entries_folder().glob(f"*/{ABOUT}"):
        nbytes = read_about(about.parent).get("bytes", 0)
        with suppress(OSError):  # vanished
            used = about.stat().st_mtime
            found.append(CacheEntry(key=about.parent.name, nbytes=nbytes, used=used))
    return sorted(found, key=lambda entry: entry.used)


def trim(room: int = 0) -> None:
    """Remove remains of killed processes, and the entries used longest ago.

    Parameters
    ----------
    room : int
        Bytes that are to be free below the limit. What a living process uses stays.
    """
    _remove_remains()
    entries = list_entries()
    total = sum(entry.nbytes for entry in entries)
    for entry in entries:
        if total + room <= cache_limit():
            break
        if _remove(entry.key):
            total -= entry.nbytes


def clear() -> int:
    """Remove all entries but those in use by a living process.

    Returns
    -------
    int
        Bytes that were freed.
    """
    _remove_remains()
    return sum(entry.nbytes for entry in list_entries() if _remove(entry.key))


def _publish(folder: Path, key: str) -> None:
    """Put a filled folder under its final name; an older state of the source goes."""
    (folder / ABOUT).write_text(json.dumps(describe(folder)), encoding="utf-8")
    mark_used(users_folder(), key)
    try:
        folder.replace(entries_folder() / key)
    except OSError:
        if find_entry(key) is None:  # else somebody made the same one
            raise
    for old in entries_folder().glob(f"{key.partition('-')[0]}-*"):
        if old.name != key:
            _remove(old.name)


def _remove(key: str) -> bool:
    """Remove an entry in one step, unless it is in use."""
    if in_use(users_folder(), key):
        return False
    return discard(entries_folder() / key)


def _remove_remains() -> None:
    """Remove unfinished folders whose makers are dead: those hold no lock any more."""
    for folder in making_folder().glob("*"):
        key = folder.name.partition(".")[0]
        if key == "gone":
            shutil.rmtree(folder, ignore_errors=True)  # nobody finds it there
            continue
        lock = FileLock(locks_folder() / f"{key}.lock")
        with suppress(Timeout, OSError):
            lock.acquire(blocking=False)
            try:
                discard(folder)
            finally:
                lock.release()


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0
