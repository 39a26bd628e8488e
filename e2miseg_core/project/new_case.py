"""Making a case: its folder, all or nothing, and what is in it at first."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from e2miseg_core.io import create_store
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.project.authority import NAMES
from e2miseg_core.project.case_file import write_first_case_description
from e2miseg_core.project.cases import AUTHORITY, LABELS
from e2miseg_core.project.levels import count_levels
from e2miseg_core.project.new_folder import new_folder
from e2miseg_core.project.project_file import update_description
from e2miseg_core.volume import Volume

__all__ = ["make_case", "new_case_folder"]


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


def make_case(
    folder: Path, volume: Volume, labels: tuple[LabelInfo, ...], project: Path
) -> None:
    """Fill a new folder with all that a case without any prediction has.

    Parameters
    ----------
    folder : Path
        Exists; holds the image if that was copied in.
    volume : Volume
        The image.
    labels : tuple of LabelInfo
        The project's classes.
    project : Path
        The project's folder.

    Raises
    ------
    ReadError
        If the image cannot be read.
    WriteError
        If something cannot be written.
    """
    geometry = volume.geometry
    dtype = np.min_scalar_type(max((label.value for label in labels), default=1))
    names = {label.value: label.name for label in labels}
    n_levels = count_levels(geometry.shape)
    create_store(folder / LABELS, geometry, dtype, names=names, n_levels=n_levels)
    create_store(
        folder / AUTHORITY,
        geometry,
        np.uint8,
        names=NAMES,
    )
    (folder / "predictions").mkdir()
    write_first_case_description(folder, volume, project)


def _free_name(folder: Path, wanted: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted).strip("._ ") or "case"
    taken = {entry.name.lower() for entry in folder.iterdir()}
    name, number = safe, 2
    while name.lower() in taken:
        name, number = f"{safe}-{number}", number + 1
    return name
