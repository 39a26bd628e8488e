"""The locks of the one program that may edit labels and journals."""

import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from e2miseg_core.errors import E2MISegError
from e2miseg_core.io.atomic import writing_to

__all__ = [
    "LOCK",
    "ProjectInUse",
    "ProjectLock",
    "is_held_here",
    "is_of_a_lock",
    "remove_dead_halves",
    "updating",
]

LOCK = "lock"
_PATIENCE = 10.0  # seconds that another program may take for one small file
_GRACE = 1.0  # seconds in which a lock gets its content on a disk without links
_SAME = 2.0  # seconds that two answers to when a process began may differ by

_held: dict[Path, str] = {}  # locks of this process, and what stands in them


class ProjectInUse(E2MISegError):  # noqa: N818 - a state of the project, not a fault
    """Another program edits the project."""


class ProjectLock:
    """The lock, held from the making of this object until `close`.

    Parameters
    ----------
    folder : Path
        The project, or a case of it.

    Raises
    ------
    ProjectInUse
        If another program, or another part of this one, holds it. The lock of a
        program of this computer that has died is taken over, and one that was copied
        with its folder.
    WriteError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._content = json.dumps(_who_am_i(folder))
        with writing_to(self.path):
            while not _create(self.path, self._content):
                _remove_stale(self.path)
        self._key = self.path.resolve()
        _held[self._key] = self._content

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others edit the project; may be called twice."""
        if _held.get(self._key) == self._content:
            del _held[self._key]
        _remove_own(self.path, self._content)


def is_held_here(folder: Path) -> bool:
    """Whether this process holds the lock of a project."""
    path = folder / LOCK
    held = _held.get(path.resolve())
    # A forked child has our memory, not our locks.
    return held == _content(path) and _owner(held).get("pid") == os.getpid()


def is_of_a_lock(path: Path) -> bool:
    """Whether a file is a lock, or one that is being made or taken away."""
    return path.name == LOCK or path.name.startswith(f".{LOCK}.")


def remove_dead_halves(folder: Path) -> None:
    """Remove locks that a program was making, or taking away, when it was killed."""
    for path in folder.glob(f".{LOCK}.*"):
        content = _content(path)
        # One of a living program stays: it may have to be given back.
        if content is not None and _is_stale(path, content):
            path.unlink(missing_ok=True)


@contextmanager
def updating(path: Path) -> Iterator[None]:
    """Keep other programs from changing a small file between our reading and writing.

    The viewer adds a case while the worker adds a version: neither may lose the
    other's change. Held for milliseconds; what a crash left is removed in time.

    Parameters
    ----------
    path : Path
        The file that is read, changed and written in the block.
    """
    guard = path.with_name(f".{path.name}.updating")
    deadline = time.monotonic() + _PATIENCE
    mine = json.dumps(_who_am_i(path.parent))
    with writing_to(path):
        while not _create(guard, mine):
            content = _content(guard)
            late = time.monotonic() > deadline
            if content is not None and (late or _is_stale(guard, content)):
                _take_away(guard, content)
            time.sleep(0.01)
    try:
        yield
    finally:
        _remove_own(guard, mine)


def _who_am_i(folder: Path) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "started": _began(os.getpid()),
        "host": platform.node(),
        "token": secrets.token_hex(8),  # tells two locks of one process apart
        **_which(folder),
    }


def _which(folder: Path) -> dict[str, Any]:
    """Tell a folder from its copies: a move keeps the number, a copy neither."""
    with writing_to(folder):
        return {"folder": str(folder.resolve()), "inode": folder.stat().st_ino}


def _began(pid: int) -> float:
    """When a process began, in seconds; a step of the clock must not change it.

    Linux knows it by the start of the computer, from which psutil makes a time of day
    that moves with the clock: here it is taken apart again.
    """
    if not psutil.LINUX:
        return float(psutil.Process(pid).create_time())
    boot = psutil.boot_time()
    return float(psutil.Process(pid).create_time() - boot)


def _create(path: Path, content: str) -> bool:
    """Make a file with all its content, unless there is one."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    partial.write_text(content, encoding="utf-8")
    try:
        os.link(partial, path)  # fails where there is one, and never shows a part
    except FileExistsError:
        return False
    except OSError:  # a disk without links, such as a memory stick
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
        except FileExistsError:
            return False
    finally:
        partial.unlink(missing_ok=True)
    return True


def _remove_stale(path: Path) -> None:
    """Remove the lock of a dead program; raise ProjectInUse if it lives."""
    content = _content(path)
    if content is None:
        return
    if _is_stale(path, content):
        _take_away(path, content)
    elif owner := _owner(content):  # else it was just being written: look again
        raise _in_use(path, owner)


def _take_away(path: Path, content: str) -> None:
    """Remove a lock that is stale, unless another program was quicker.

    Two programs may find it stale: only one moves it away, and looks again.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.stale")
    with suppress(FileNotFoundError):
        path.rename(aside)
        found = aside.read_text(encoding="utf-8")
        aside.unlink()
        if found != content:  # that of a living program: give it back
            _create(path, found)


def _remove_own(path: Path, content: str) -> None:
    with suppress(OSError):
        if path.read_text(encoding="utf-8") == content:
            path.unlink()


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _owner(content: str | None) -> dict[str, Any]:
    try:
        owner = json.loads(content or "")
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_stale(path: Path, content: str) -> bool:
    """Whether the owner of a lock with some content is no more, or has another."""
    owner = _owner(content)
    if not owner:  # just being written, or cut short by a crash: wait and see
        time.sleep(_GRACE)
        return _content(path) == content
    if owner.get("host") != platform.node():
        return False  # nobody here can tell
    if _is_copied(path, owner):
        return True
    try:
        apart = _began(int(owner["pid"])) - float(owner["started"])
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return True
    except psutil.AccessDenied:
        return False
    return abs(apart) > _SAME


def _is_copied(path: Path, owner: dict[str, Any]) -> bool:
    """Whether a lock was made in another folder, and copied with it to this one."""
    try:
        here = _which(path.parent)
    except E2MISegError:  # gone meanwhile
        return False
    return all(owner.get(key, value) != value for key, value in here.items())


def _in_use(path: Path, owner: dict[str, Any]) -> ProjectInUse:
    if owner.get("host") != platform.node():
        return ProjectInUse(
            found=f"{path.parent.name} is open on the computer {owner.get('host')}",
            needed="one program at a time that edits it",
            do=f"close it there; if that computer is off, delete the file {path}",
        )
    mine = owner.get("pid") == os.getpid()
    other = "this program" if mine else f"another program (process {owner['pid']})"
    return ProjectInUse(
        found=f"{path.parent.name} is open in {other}",
        needed="one program at a time that edits it",
        do="close it there first",
    )
