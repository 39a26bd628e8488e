"""The folders of the cache, and one entry in them: described, removed in one step."""

import json
import secrets
import shutil
import time
from pathlib import Path

from e2miseg_core.io.cache.folder import cache_folder

__all__ = [
    "ABOUT",
    "describe",
    "discard",
    "entries_folder",
    "locks_folder",
    "making_folder",
    "prepare_folders",
    "read_about",
    "remove_unfinished",
    "users_folder",
]

ABOUT = "about.json"  # of an entry: written last, and touched when it is used
_TRIES = 20  # a tenth of a second apart; what stays is removed another time


def prepare_folders() -> None:
    """Make the folders, for this user alone: copies of images are as private."""
    cache_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (entries_folder(), making_folder(), locks_folder(), users_folder()):
        folder.mkdir(exist_ok=True, mode=0o700)
    tag = cache_folder() / "CACHEDIR.TAG"  # backup programs pass such folders over
    if not tag.exists():
        tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n", "ascii")


def remove_unfinished(folder: Path) -> None:
    """Remove a folder into which threads of a failed write may still put files."""
    for _ in range(_TRIES):
        discard(folder)
        if not folder.exists():
            return
        time.sleep(0.1)


def discard(folder: Path) -> bool:
    """Remove an entry in one step; False if it cannot be, or is gone already.

    Nobody sees it half removed, where what is missing would read as 0. Its lock stays:
    another process may hold it, or be about to.
    """
    gone = making_folder() / f"gone.{secrets.token_hex(4)}"
    try:
        folder.replace(gone)
    except OSError:
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def describe(folder: Path) -> dict[str, int]:
    """What an entry must still be when it is found again."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    sizes = [file.stat().st_size for file in files if file.name != ABOUT]
    return {"bytes": sum(sizes), "files": len(sizes)}


def read_about(folder: Path) -> dict[str, int]:
    """What an entry was when it was made; empty if it does not say."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return {key: int(about[key]) for key in ("bytes", "files")}
    except (OSError, ValueError, KeyError, TypeError):  # vanished, or damaged
        return {}


def entries_folder() -> Path:
    """Whole entries, by key."""
    return cache_folder() / "entries"


def making_folder() -> Path:
    """Folders that are being filled, or removed."""
    return cache_folder() / "making"


def locks_folder() -> Path:
    """A lock file for each key that was made."""
    return cache_folder() / "locks"


def users_folder() -> Path:
    """Marks of the processes that use entries."""
    return cache_folder() / "users"
