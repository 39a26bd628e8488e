"""`case.json`: what a case says of itself."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.atomic import write_json
from e2miseg_core.io.naming import absolute
from e2miseg_core.project.fingerprint import fingerprint
from e2miseg_core.project.lock import updating
from e2miseg_core.volume import Volume

__all__ = [
    "COPIED_IMAGE",
    "image_place",
    "placed_image",
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
    image = Address.parse(volume.source.uri if volume.source else "")
    copied = not image.is_remote and image.path.parent == folder
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


def image_place(image: Address, project: Path) -> Mapping[str, Any]:
    """Say where an image is, also as seen from the project; see `placed_image`."""
    there, relative = absolute(image), ""
    if not there.is_remote:
        try:
            seen = os.path.relpath(there.place, project.absolute())
            relative = Path(seen).as_posix()
        except ValueError:  # on another drive
            pass
    # Apart from the place, so that no name with a # in it is taken for a part.
    inside: dict[str, object] = {"part": there.part, "frame": there.frame}
    if there.spacing is not None:
        inside |= {"spacing": list(there.spacing), "unit": there.unit}
    return {"image": there.place, "relative": relative, **inside}


def placed_image(stored: Mapping[str, Any], folder: Path, project: Path) -> Address:
    """Return where an image is: as stored, or beside a project that moved with it.

    Parameters
    ----------
    stored : mapping
        What `case.json` says.
    folder, project : Path
        Of the case and of the project.
    """
    if stored["image"] == COPIED_IMAGE:
        return Address(str(folder / COPIED_IMAGE))
    spacing = stored.get("spacing")
    image = Address(
        stored["image"],
        stored.get("part", ""),
        stored.get("frame"),
        None if spacing is None else (spacing[0], spacing[1], spacing[2]),
        stored.get("unit", "mm"),
    )
    relative = stored.get("relative", "")
    if image.is_remote or not relative or image.path.exists():
        return image
    beside = project / relative
    return replace(image, place=str(beside.resolve())) if beside.exists() else image


def _unreadable(path: Path, why: str) -> ReadError:
    return ReadError(
        found=f"{path} cannot be understood: {why}",
        needed=f"the description of a case, format {_FORMAT}",
        do="copy it from a backup, or update e2miseg-napari",
    )
