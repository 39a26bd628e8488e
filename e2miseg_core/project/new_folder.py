"""Folders that are there whole or not at all; what dead programs left of them goes."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from e2miseg_core.errors import E2MISegError
from e2miseg_core.io.atomic import sync_folder, writing_to
from e2miseg_core.project.lock import LOCK, ProjectLock, updating

__all__ = ["new_folder", "remove_dead_folders"]

_PARTIAL = ".partial"


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Let a hidden folder be filled beside `final`, then give it that name in one step.

    The lock in it tells others that its maker lives.

    Parameters
    ----------
    final : Path
        Does not exist yet.

    Yields
    ------
    Path
        The folder to fill; removed if the block does not end well.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    parent = final.parent
    partial = parent / f".{secrets.token_hex(4)}{_PARTIAL}"
    try:
        with ExitStack() as made:
            with updating(parent), writing_to(final):
                partial.mkdir()
                made.enter_context(ProjectLock(partial))
            yield partial
            with writing_to(final):
                partial.rename(final)
                (final / LOCK).unlink(missing_ok=True)
        sync_folder(parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_dead_folders(parent: Path) -> None:
    """Remove folders that programs which died were filling, as far as that can be."""
    if not any(parent.glob(f".*{_PARTIAL}")):
        return
    # Nobody is between making a folder and putting its lock there while we look.
    with ExitStack() as dead, suppress(E2MISegError), updating(parent):
        for folder in parent.glob(f".*{_PARTIAL}"):
            with suppress(E2MISegError):  # its maker lives, or has just finished
                dead.enter_context(ProjectLock(folder))
                dead.callback(shutil.rmtree, folder, ignore_errors=True)
