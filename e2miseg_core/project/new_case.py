"""Making the folder of a case, all or nothing."""

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2miseg_core.io.atomic import sync_folder, writing_to
from e2miseg_core.project.project_file import update_description

__all__ = ["new_case_folder"]


@contextmanager
def new_case_folder(project: Path, wanted: str) -> Iterator[tuple[Path, str]]:
    """Give a hidden folder to fill; it becomes a case where nothing goes wrong.

    Parameters
    ----------
    project : Path
        The project's folder.
    wanted : str
        Name of the case; made unique and fit for a file name.

    Yields
    ------
    tuple
        The folder to fill, and the name that the case will have.

    Raises
    ------
    WriteError
        If the project cannot be written.
    """
    folder = project / "cases"
    partial = folder / f".{secrets.token_hex(4)}.partial"
    with writing_to(partial):
        partial.mkdir()
    try:
        final = _free_name(folder, wanted)
        yield partial, final
        with writing_to(folder / final):
            partial.rename(folder / final)
        sync_folder(folder)
        update_description(project, {}, case=final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _free_name(folder: Path, wanted: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted).strip("._ ") or "case"
    taken = {entry.name.lower() for entry in folder.iterdir()}
    name, number = safe, 2
    while name.lower() in taken:
        name, number = f"{safe}-{number}", number + 1
    return name
