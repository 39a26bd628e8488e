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

__all__ = ["ProjectInUse", "ProjectLock", "is_held_here", "updating"]

LOCK = "lock"
_PATIENCE = 10.0  # seconds that another program may take for one small file


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
        program of this computer that has died is taken over.
    WriteError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._content = json.dumps(_who_am_i())
        with writing_to(self.path):
            while not _create(self.path, self._content):
                _remove_stale(self.path)

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
        with suppress(OSError):
            if self.path.read_text(encoding="utf-8") == self._content:
                self.path.unlink()


def is_held_here(folder: Path) -> bool:
    """Whether this process holds the lock of a project."""
    owner = _owner(_content(folder / LOCK))
    mine = _who_am_i()
    return all(owner.get(key) == mine[key] for key in ("pid", "started", "host"))


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
    with writing_to(path):
        while not _create(guard, json.dumps(_who_am_i())):
            content = _content(guard)
            if time.monotonic() > deadline or (content and _is_stale(content)):
                guard.unlink(missing_ok=True)
            time.sleep(0.01)
    try:
        yield
    finally:
        guard.unlink(missing_ok=True)


def _who_am_i() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "host": platform.node(),
    }


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
    if not _is_stale(content):
        raise _in_use(path, _owner(content))
    # Two programs may find it stale: only one moves it away, and looks again.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.stale")
    with suppress(FileNotFoundError):
        path.rename(aside)
        found = aside.read_text(encoding="utf-8")
        aside.unlink()
        if found != content:  # a living program was quicker: give it back
            _create(path, found)
            raise _in_use(path, _owner(found))


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


def _is_stale(content: str | None) -> bool:
    owner = _owner(content)
    if not owner:
        return True  # cut short by a crash on a disk without links
    if owner.get("host") != platform.node():
        return False  # nobody here can tell
    try:
        started: float = psutil.Process(int(owner["pid"])).create_time()
        return abs(started - float(owner["started"])) > 1.0
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return True
    except psutil.AccessDenied:
        return False


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
