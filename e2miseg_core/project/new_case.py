"""Making the folder of a case, all or nothing."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2miseg_core.project.new_folder import new_folder
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
    final = _free_name(folder, wanted)
    with new_folder(folder / final) as partial:
        yield partial, final
    update_description(project, {}, case=final)


def _free_name(folder: Path, wanted: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted).strip("._ ") or "case"
    taken = {entry.name.lower() for entry in folder.iterdir()}
    name, number = safe, 2
    while name.lower() in taken:
        name, number = f"{safe}-{number}", number + 1
    return name
