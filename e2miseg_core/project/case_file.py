"""`case.json`: what a case says of itself."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import write_json
from e2miseg_core.project.fingerprint import fingerprint
from e2miseg_core.project.lock import updating
from e2miseg_core.volume import Volume

__all__ = [
    "COPIED_IMAGE",
    "image_place",
    "read_case_description",
    "update_case_description",
    "write_first_case_description",
]

COPIED_IMAGE = "image.ome.zarr"
_NAME = "case.json"
_FORMAT = 1


def write_first_case_description(folder: Path, volume: Volume, project: Path) -> None:
    """Write what a case without any prediction says.

    Parameters
    ----------
    folder : Path
        Of the case; holds the image if that was copied in.
    volume : Volume
        The image.
    project : Path
        The project's folder.
    """
    image = Path(volume.source.uri if volume.source else "")
    copied = image.parent == folder
    place = {"image": COPIED_IMAGE} if copied else image_place(image, project)
    write_json(
        folder / _NAME,
        {
            "format": _FORMAT,
            **place,
            "fingerprint": fingerprint(volume),
            "geometry": volume.geometry.to_json(),
            "channels": list(volume.channels),
            "prediction": None,
            "merging": None,
        },
    )


def read_case_description(folder: Path) -> dict[str, Any]:
    """Read what a case says now.

    Raises
    ------
    ReadError
        If it is damaged or of a newer format.
    """
    path = folder / _NAME
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = stored["format"]
        missing = {"image", "fingerprint", "geometry", "channels", "prediction"}
        missing -= set(stored)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise _unreadable(path, f"it is missing or damaged ({error})") from error
    if kind != _FORMAT or missing:
        raise _unreadable(path, f"its format is {kind}, it lacks {sorted(missing)}")
    return stored


def update_case_description(folder: Path, values: Mapping[str, Any]) -> None:
    """Change what a case says, without losing what another program changes."""
    with updating(folder / _NAME):
        write_json(folder / _NAME, {**read_case_description(folder), **values})


def image_place(image: Path, project: Path) -> Mapping[str, str]:
    """Where an image is, also as seen from the project."""
    absolute = image.expanduser().absolute()
    try:
        relative = Path(os.path.relpath(absolute, project.absolute())).as_posix()
    except ValueError:  # on another drive
        relative = ""
    return {"image": str(absolute), "relative": relative}


def _unreadable(path: Path, why: str) -> ReadError:
    return ReadError(
        found=f"{path} cannot be understood: {why}",
        needed=f"the description of a case, format {_FORMAT}",
        do="copy it from a backup, or update e2miseg-napari",
    )
