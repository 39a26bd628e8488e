"""The labels of a case as they are on disk, read while another program edits them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zarr

from e2miseg_core.io.atomic import writing_to
from e2miseg_core.project.cases import Case
from e2miseg_core.project.journal import is_flushed
from e2miseg_core.project.lock import ProjectInUse

__all__ = ["snapshot"]


@contextmanager
def snapshot(case: Case, beside: Path) -> Iterator[tuple[Any, Any]]:
    """Copy labels and authority, to be read while others go on editing.

    Parameters
    ----------
    case : Case
        Its lock is not needed.
    beside : Path
        Folder in which the copy is made; it is gone after the block.

    Yields
    ------
    tuple of zarr.Array
        Labels at full size, and authority.

    Raises
    ------
    ProjectInUse
        If the stores lack edits that only the journal has, or change just now.
    WriteError
        If the copy cannot be written.
    """
    with ExitStack() as made:
        with writing_to(beside):
            folder = made.enter_context(
                tempfile.TemporaryDirectory(prefix=".", suffix=".partial", dir=beside)
            )
            copies = _copies(case, Path(folder))
        if copies is None:
            raise ProjectInUse(
                found=f"{case.name} is being edited in another program, and its last "
                "edits are not in its labels on disk yet",
                needed="labels that are saved, which takes a second without an edit",
                do="try again in a moment, or close the project there",
            )
        labels, authority = (zarr.open_array(str(copy), mode="r") for copy in copies)
        yield labels, authority


def _copies(case: Case, folder: Path) -> list[Path] | None:
    """Copy the arrays; None if they lack edits, or may have changed meanwhile."""
    state = _state(case)
    if state is None:
        return None
    copies = []
    try:
        for store in (case.labels_path, case.authority_path):
            copies.append(folder / store.name)
            _copy(store / "0", copies[-1])
    except FileNotFoundError:  # replaced by its writer
        return None
    # Edits are in the journal, and a merge in case.json, before any chunk has them.
    return copies if _state(case) == state else None


def _copy(array: Path, copy: Path) -> None:
    for file in array.rglob("*"):
        if file.is_file() and not file.name.startswith("."):  # else half written
            target = copy / file.relative_to(array)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def _state(case: Case) -> tuple[int, object] | None:
    """What changes before the stores do; None while they are not whole."""
    description = case.description()
    journal = case.journal_path
    if description.get("merging") is not None or not is_flushed(journal):
        return None
    size = journal.stat().st_size if journal.exists() else 0
    return size, description["prediction"]
