"""Which processes use which entries of the cache: marker files, checked for life."""

import atexit
import os
import platform
import re
import time
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = ["in_use", "mark_used"]

# Whether a process of another computer lives cannot be told: its mark counts so long.
_FOREIGN_SECONDS = 7 * 24 * 3600.0

# The system reckons the start of a process from a clock that may be set meanwhile.
_CLOCK_SECONDS = 5

_marked: set[Path] = set()


def mark_used(folder: Path, key: str) -> None:
    """Mark an entry as used by this process, until it ends.

    Parameters
    ----------
    folder : Path
        Of the markers; it must exist.
    key : str
        Of the entry.
    """
    pid = os.getpid()
    marker = folder / f"{key}@{_host()}@{pid}@{_birth(pid)}"
    if marker in _marked and marker.exists():
        return
    marker.touch()
    if not _marked:
        atexit.register(_unmark)
    _marked.add(marker)


def in_use(folder: Path, key: str) -> bool:
    """Whether a living process uses an entry; marks of dead ones are removed."""
    used = False
    for marker in folder.glob(f"{key}@*"):
        if _is_alive(marker):
            used = True
        else:
            marker.unlink(missing_ok=True)
    return used


def _is_alive(marker: Path) -> bool:
    try:
        _, host, pid, birth = marker.name.split("@")
        if host == _host():
            return abs(_birth(int(pid)) - int(birth)) <= _CLOCK_SECONDS
        return time.time() - marker.stat().st_mtime < _FOREIGN_SECONDS
    except (ValueError, OSError):  # no marker of ours, or gone
        return False


def _birth(pid: int) -> int:
    """When a process started; process numbers are given again. -1 if there is none."""
    try:
        return int(psutil.Process(pid).create_time())
    except psutil.Error:
        return -1


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node()) or "localhost"


def _unmark() -> None:
    for marker in _marked:
        # A forked child must leave its parent's marks alone.
        if f"@{os.getpid()}@" in marker.name:
            with suppress(OSError):
                marker.unlink(missing_ok=True)
