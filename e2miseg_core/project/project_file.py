"""`project.json`: what a project says of itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ReadError, WriteError
from e2miseg_core.io.atomic import write_json
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.project.clock import now
from e2miseg_core.project.lock import updating

__all__ = [
    "SUFFIX",
    "check_new",
    "read_classes",
    "read_description",
    "update_description",
    "write_first_description",
]

SUFFIX = ".e2m"
_NAME = "project.json"
_FORMAT = 1


def check_new(path: Path) -> None:
    """Raise WriteError where no project of this name can be made."""
    if path.suffix != SUFFIX:
        raise WriteError(
            found=f"the project name {path.name}",
            needed=f"a name that ends in {SUFFIX}",
            do=f"call it {path.name}{SUFFIX}",
        )
    if path.exists() or not path.parent.is_dir():
        what = f"{path} exists" if path.exists() else f"no folder {path.parent}"
        raise WriteError(
            found=what,
            needed="a new name in an existing folder",
            do="choose another name, or open the project that is there",
        )


def write_first_description(folder: Path, labels: tuple[LabelInfo, ...]) -> None:
    """Write what a project without cases says."""
    values = {
        "format": _FORMAT,
        "classes": [asdict(label) for label in labels],
        "cases": [],
        "version": 0,
        "created": now(),
    }
    write_json(folder / _NAME, values)


def read_description(folder: Path) -> dict[str, Any]:
    """Read what a project says now.

    Raises
    ------
    ReadError
        If the folder is no project, damaged or of a newer format.
    """
    file = folder / _NAME
    if not file.is_file():
        what = "no project" if folder.exists() else "missing"
        raise ReadError(
            found=f"{folder} is {what}",
            needed=f"a folder NAME{SUFFIX} with {_NAME}",
            do="check the path, or make one with `e2miseg project create`",
        )
    try:
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kind = stored["format"]
        missing = {"classes", "cases", "version"} - set(stored)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise _unreadable(folder, f"a damaged {_NAME} ({error})") from error
    if isinstance(kind, int) and kind > _FORMAT:
        raise ReadError(
            found=f"{folder} is a project of format {kind}",
            needed=f"format {_FORMAT}",
            do="update e2miseg-napari",
        )
    if kind != _FORMAT or missing:
        raise _unreadable(folder, f"a {_NAME} without {sorted(missing)}")
    return stored


def read_classes(folder: Path) -> tuple[LabelInfo, ...]:
    """Read the classes of a project; raises as `read_description`."""
    stored = read_description(folder)
    try:
        return tuple(LabelInfo(**values) for values in stored["classes"])
    except TypeError as error:
        raise _unreadable(folder, f"unknown classes ({error})") from error


def update_description(
    folder: Path, values: Mapping[str, Any], *, case: str = ""
) -> None:
    """Change what a project says, without losing what another program changes.

    Parameters
    ----------
    folder : Path
        The project.
    values : mapping
        What is new.
    case : str
        Name of a case to be added; none if empty.

    Raises
    ------
    ReadError, WriteError
        If it cannot be read or written; then it is as it was.
    """
    with updating(folder / _NAME):
        stored = read_description(folder)
        cases = [*stored["cases"], case] if case else stored["cases"]
        write_json(folder / _NAME, {**stored, "cases": cases, **values})


def _unreadable(folder: Path, what: str) -> ReadError:
    return ReadError(
        found=f"{folder} has {what}",
        needed=f"a project of format {_FORMAT}",
        do="copy that file from a backup",
    )
