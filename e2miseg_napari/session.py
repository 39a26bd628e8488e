"""The folder in which predictions live until they are saved."""

import atexit
import shutil
import threading
import time
from pathlib import Path

import platformdirs
import psutil

__all__ = ["SessionFolder", "sessions_root"]

_KEPT_S = 7 * 24 * 3600.0  # what a crashed viewer has left behind, before it is removed


def sessions_root() -> Path:
    """Folder of all sessions, on a disk: a temporary folder may be memory."""
    cache = platformdirs.user_cache_dir("e2miseg", appauthor=False)
    return Path(cache) / "sessions"


class SessionFolder:
    """A folder for one viewer process, made on first use and removed at its end.

    The folder's name tells the process that it belongs to, so that a later session
    can remove what a crash has left, a week after it.

    Parameters
    ----------
    root : Path, optional
        Folder of all sessions.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._path: Path | None = None

    def new_folder(self, name: str) -> Path:
        """Make an empty folder for one job."""
        if self._path is None:
            self._path = self._make()
        folder = self._path / name
        folder.mkdir(parents=True)
        return folder

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        path, self._path = self._path, None
        if path is not None:
            atexit.unregister(self.close)
            shutil.rmtree(path, ignore_errors=True)

    def _make(self) -> Path:
        root = self._root or sessions_root()
        root.mkdir(parents=True, exist_ok=True)
        # Years of results may lie there: not the user's time.
        cleaner = threading.Thread(target=_remove_stale, args=(root,), daemon=True)
        cleaner.start()
        me = psutil.Process()
        path = root / f"{me.pid}-{round(me.create_time())}-{time.time_ns()}"
        path.mkdir()
        atexit.register(self.close)
        return path


def _remove_stale(root: Path) -> None:
    for folder in root.iterdir():
        try:
            old = time.time() - folder.stat().st_mtime > _KEPT_S
        except OSError:
            continue
        if old and not _owner_runs(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _owner_runs(name: str) -> bool:
    pid, _, rest = name.partition("-")
    started = rest.partition("-")[0]
    try:
        return round(psutil.Process(int(pid)).create_time()) == int(started)
    except (ValueError, psutil.Error):
        return False
