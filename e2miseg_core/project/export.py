"""Corrected labels as files on the grids of their images."""

from collections.abc import Generator
from pathlib import Path

from e2miseg_core.errors import WriteError
from e2miseg_core.io import is_writable_suffix, split_suffix, write_labels
from e2miseg_core.progress import Progress
from e2miseg_core.project.authority import NAMES
from e2miseg_core.project.cases import Case
from e2miseg_core.project.project import Project

__all__ = ["export_labels"]


def export_labels(
    project: Project, folder: Path, *, authority: bool = False, overwrite: bool = False
) -> Generator[Progress, None, list[Path]]:
    """Write the labels of each case as `CASE` and the suffix of its image.

    Parameters
    ----------
    project : Project
        Nobody else may be editing it.
    folder : Path
        Made if it is not there.
    authority : bool
        Also write who says so, as `CASE_authority`.
    overwrite : bool
        Whether existing files may be replaced.

    Yields
    ------
    Progress
        After each case.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ProjectInUse
        If another program edits the project.
    ReadError
        If an image is gone: its grid is needed.
    WriteError
        If a file exists or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            found=f"{folder} cannot be made ({error.strerror or error})",
            needed="a folder to write to",
            do="choose another one",
        ) from error
    written: list[Path] = []
    names = project.cases
    with project.lock():
        for done, name in enumerate(names, start=1):
            case = project.case(name)
            written += _export(case, folder, authority=authority, overwrite=overwrite)
            yield Progress(done=done, total=len(names), stage="exporting")
    return written


def _export(
    case: Case, folder: Path, *, authority: bool, overwrite: bool
) -> list[Path]:
    image = case.open_image()
    suffix = split_suffix(case.image_uri)[1]
    if not is_writable_suffix(f"labels{suffix}"):
        suffix = ".ome.zarr"
    classes = {label.value: label.name for label in case.project.classes}
    # Opened for editing, so that what only the journal holds is exported too.
    with case.open_labels() as store:
        volumes = [("", store.levels[0], classes)]
        if authority:
            volumes.append(("_authority", store.authority, NAMES))
        return [
            write_labels(
                volume,
                folder / f"{case.name}{addition}{suffix}",
                like=image,
                names=words,
                overwrite=overwrite,
            )
            for addition, volume, words in volumes
        ]
