"""Where projects lie, and which project an image belongs to already."""

import os
from collections.abc import Iterator
from pathlib import Path

from e2miseg_core.errors import E2MISegError
from e2miseg_core.io.address import Address
from e2miseg_core.io.naming import same_place, suggested_name
from e2miseg_core.project import Project
from e2miseg_core.project.project_file import SUFFIX
from e2miseg_napari.images import ImageChoice

__all__ = ["find_project", "new_project_path"]

_PACKAGE = Path(__file__).parents[1]


def projects_root() -> Path:
    """Folder for projects of images that nothing can be written beside."""
    return Path.home() / "e2miseg-projects"


def new_project_path(choice: ImageChoice) -> Path:
    """Path for the project of an image: beside it, else in the home folder.

    The folder above is made if need be; the path itself does not exist.
    """
    folder = _folder_of(choice)
    folder.mkdir(parents=True, exist_ok=True)
    stem = _stem_of(choice)
    path, number = folder / f"{stem}{SUFFIX}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{SUFFIX}", number + 1
    return path


def find_project(choice: ImageChoice) -> tuple[Path, str] | None:
    """The newest project that holds an image, and the case that the image is there.

    It is looked for where `new_project_path` would put it.
    """
    if not choice.uri:
        return None
    found = [(path, _case_of(choice.uri, path)) for path in _candidates(choice)]
    known = [(path, case) for path, case in found if case]
    return max(known, key=lambda one: one[0].stat().st_mtime, default=None)


def _candidates(choice: ImageChoice) -> Iterator[Path]:
    folder = _folder_of(choice)
    if folder.is_dir():
        yield from folder.glob(f"{_stem_of(choice)}*{SUFFIX}")


def _case_of(image: str, path: Path) -> str:
    """Name of the case that an image is in a project, empty where it is none."""
    try:
        project = Project.open(path)
        for name in project.cases:
            if same_place(project.case(name).image_uri, image):
                return name
    except (E2MISegError, OSError):
        pass  # damaged: opening it says why, looking for it need not
    return ""


def _folder_of(choice: ImageChoice) -> Path:
    address = Address.parse(choice.uri)
    if choice.uri and not address.is_remote:
        beside = address.path.resolve().parent
        if os.access(beside, os.W_OK) and not beside.is_relative_to(_PACKAGE):
            return beside
    return projects_root()


def _stem_of(choice: ImageChoice) -> str:
    stem = suggested_name(choice.uri) if choice.uri else choice.title
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)
    return safe.strip("._") or "image"
