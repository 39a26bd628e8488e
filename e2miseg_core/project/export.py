"""Corrected labels as files on the grids of their images."""

import itertools
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

from e2miseg_core.errors import WriteError
from e2miseg_core.io import is_writable_suffix, split_suffix, write_labels
from e2miseg_core.progress import Progress
from e2miseg_core.project.authority import NAMES
from e2miseg_core.project.cases import Case
from e2miseg_core.project.project import Project

__all__ = ["export_labels"]

AUTHORITY = "_authority"  # in the names of files that say who says so


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
    kinds = ("", AUTHORITY) if authority else ("",)
    written: list[Path] = []
    with project.lock():
        cases = [project.case(name) for name in project.cases]
        files = [[_file(case, folder, kind) for kind in kinds] for case in cases]
        if not overwrite:  # told before the first one is written
            _check_new(itertools.chain.from_iterable(files))
        for done, (case, targets) in enumerate(zip(cases, files, strict=True), start=1):
            written += _export(case, targets, overwrite=overwrite)
            yield Progress(done=done, total=len(cases), stage="exporting")
    return written


def _file(case: Case, folder: Path, kind: str) -> Path:
    suffix = split_suffix(case.image_uri)[1]
    if not is_writable_suffix(f"labels{suffix}"):
        suffix = ".ome.zarr"
    return folder / f"{case.name}{kind}{suffix}"


def _check_new(files: Iterable[Path]) -> None:
    for file in files:
        if file.exists():
            raise WriteError(
                found=f"{file} exists",
                needed="a folder without the files that are to be written",
                do="choose another one, or add --overwrite",
            )


def _export(case: Case, targets: Sequence[Path], *, overwrite: bool) -> list[Path]:
    """Write the labels to the first target and the authority to the second, if any."""
    image = case.open_image()
    classes = {label.value: label.name for label in case.project.classes}
    # Opened for editing, so that what only the journal holds is exported too.
    with case.open_labels() as store:
        volumes = ((store.levels[0], classes), (store.authority, NAMES))
        return [
            write_labels(volume, target, like=image, names=words, overwrite=overwrite)
            for target, (volume, words) in zip(targets, volumes, strict=False)
        ]
