"""Corrected labels as files on the grids of their images."""

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.errors import WriteError
from e2miseg_core.io import write_labels
from e2miseg_core.io.naming import label_suffix
from e2miseg_core.progress import Progress
from e2miseg_core.project.authority import NAMES
from e2miseg_core.project.cases import Case
from e2miseg_core.project.lock import ProjectInUse
from e2miseg_core.project.project import Project
from e2miseg_core.project.snapshot import snapshot

__all__ = ["export_labels"]

AUTHORITY = "_authority"  # in the names of files that say who says so
_SLAB = 64  # planes looked at together


def export_labels(
    project: Project,
    folder: Path,
    *,
    suffix: str = "",
    authority: bool = False,
    overwrite: bool = False,
) -> Generator[Progress, None, dict[str, list[Path]]]:
    """Write the labels of each case as `CASE` and a suffix that fits its image.

    Parameters
    ----------
    project : Project
        Another program may have it open, if its edits are in the labels on disk.
    folder : Path
        Made if it is not there.
    suffix : str
        Of all files, such as ".nrrd", or ".dcm" for cases that are DICOM series;
        empty for one that fits each image.
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
    dict of str to list of Path
        The files of each case; none where it is neither predicted nor drawn in.

    Raises
    ------
    ProjectInUse
        If another program edits the project, and the labels on disk lack edits.
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
    written: dict[str, list[Path]] = {}
    with ExitStack() as held:
        try:
            held.enter_context(project.lock())
            locked = True
        except ProjectInUse:
            locked = False
        cases = [project.case(name) for name in project.cases]
        files = [
            [_file(case, folder, kind, suffix) for kind in kinds] for case in cases
        ]
        if not overwrite:  # told before the first one is written
            _check_new(itertools.chain.from_iterable(files))
        for done, (case, targets) in enumerate(zip(cases, files, strict=True), start=1):
            with _read(case, folder, locked=locked) as volumes:
                written[case.name] = _export(
                    case, targets, volumes, overwrite=overwrite
                )
            yield Progress(done=done, total=len(cases), stage="exporting")
    return written


def _file(case: Case, folder: Path, kind: str, suffix: str) -> Path:
    return folder / f"{case.name}{kind}{suffix or label_suffix(case.image_uri)}"


def _check_new(files: Iterable[Path]) -> None:
    for file in files:
        if file.exists():
            raise WriteError(
                found=f"{file} exists",
                needed="a folder without the files that are to be written",
                do="choose another one, or add --overwrite",
            )


@contextmanager
def _read(case: Case, folder: Path, *, locked: bool) -> Iterator[tuple[Any, Any]]:
    """Labels and authority; who holds the lock gets what only the journal has, too."""
    if not locked:
        with snapshot(case, folder) as arrays:
            yield arrays
        return
    with case.open_labels() as store:
        yield store.levels[0], store.authority


def _export(
    case: Case, targets: Sequence[Path], volumes: tuple[Any, Any], *, overwrite: bool
) -> list[Path]:
    """Write the labels to the first target and the authority to the second, if any."""
    labels, authority = volumes
    if case.merged is None and case.merging is None and _is_empty(authority):
        return []
    image = case.open_image()
    classes = {label.value: label.name for label in case.project.classes}
    colors = {label.value: label.rgb for label in case.project.classes}
    no_colors: dict[int, tuple[int, int, int]] = {}
    kinds = ((labels, classes, colors), (authority, NAMES, no_colors))
    return [
        write_labels(
            volume, target, like=image, names=words, colors=shown, overwrite=overwrite
        )
        for target, (volume, words, shown) in zip(targets, kinds, strict=False)
    ]


def _is_empty(volume: Any) -> bool:
    slabs = range(0, volume.shape[0], _SLAB)
    return not any(np.asarray(volume[z : z + _SLAB]).any() for z in slabs)
