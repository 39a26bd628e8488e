"""One image of a project, with all that belongs to it."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume
from e2miseg_core.io.address import Address, AnySource
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.io.naming import exists
from e2miseg_core.project.case_file import (
    image_place,
    placed_image,
    read_case_description,
    update_case_description,
)
from e2miseg_core.project.finding import find_image
from e2miseg_core.project.fingerprint import fingerprint, same_image
from e2miseg_core.project.predictions import CasePrediction, read_prediction
from e2miseg_core.project.review_log import ReviewLog
from e2miseg_core.volume import Volume

if TYPE_CHECKING:
    from e2miseg_core.project.label_store import LabelStore
    from e2miseg_core.project.project import Project

__all__ = ["AUTHORITY", "LABELS", "Case", "read_case"]

LABELS, AUTHORITY = "labels.ome.zarr", "authority.ome.zarr"


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One image of a project, with its predictions, labels and verdicts.

    Attributes
    ----------
    project : Project
        That it belongs to.
    name : str
        Unique in the project.
    folder : Path
        `cases/NAME`.
    geometry : Geometry
        Of the image and of all arrays, in canonical orientation.
    channels : tuple of str
        Of the image.
    """

    project: "Project"
    name: str
    folder: Path
    geometry: Geometry
    channels: tuple[str, ...]

    @property
    def image_uri(self) -> str:
        """Address of the image, also where it was moved together with the project."""
        return str(self._image)

    @property
    def _image(self) -> Address:
        return placed_image(self.description(), self.folder, self.project.path)

    @property
    def labels_path(self) -> Path:
        """Store of the corrected labels, for reading only."""
        return self.folder / LABELS

    @property
    def authority_path(self) -> Path:
        """Store of who says so, for reading only."""
        return self.folder / AUTHORITY

    @property
    def journal_path(self) -> Path:
        """Log of the edits."""
        return self.folder / "journal.jsonl"

    def open_image(self) -> Volume:
        """Open the image, if it is still the one that the case was made of.

        Where others have come into its file or folder, it is looked for among them.

        Raises
        ------
        ReadError
            If it is gone, or another one.
        """
        image = self._image
        if not exists(image):
            raise ReadError(
                found=f"the image {image} of the case {self.name!r} is gone",
                needed="the image that the case was made of",
                do="put it back, or tell the case where it is now",
            )
        volume, found = self._find(image)
        if found != image:
            # Whoever may not write looks for it again the next time.
            with contextlib.suppress(OSError):
                self._move_to(found)
        return volume

    def relocate(self, source: AnySource) -> None:
        """Tell the case where its image is now.

        Parameters
        ----------
        source : str, Path or Address
            Without a part or frame, the one in it that the case was made of.

        Raises
        ------
        ReadError
            If there is another image, or none.
        """
        image, was = Address.parse(source), self._image
        if image.part or image.frame is not None:
            self._check_same(open_volume(image), str(image))
            self._move_to(image)
        else:
            found = replace(was, place=image.place)
            if image.spacing is not None:
                found = replace(found, spacing=image.spacing, unit=image.unit)
            _, found = self._find(found)
            self._move_to(found)

    def _find(self, image: Address) -> tuple[Volume, Address]:
        """Open the image at an address, or beside it in the same file or folder."""
        try:
            volume, found = find_image(image, self._is_same)
        except ChoiceError as error:
            raise ReadError(
                found=f"none of the {len(error.choices)} images in {image} is that of "
                f"the case {self.name!r}",
                needed="the one that the case was made of",
                do="put that image back, or tell the case where it is now",
            ) from error
        self._check_same(volume, str(found))
        return volume, found

    def _move_to(self, image: Address) -> None:
        update_case_description(self.folder, image_place(image, self.project.path))

    def new_prediction_folder(self) -> Path:
        """Make the folder of the next prediction.

        Raises
        ------
        WriteError
            If it cannot be made.
        """
        parent = self.folder / "predictions"
        with writing_to(parent):
            parent.mkdir(exist_ok=True)
            taken = [int(entry.name) for entry in _numbered(parent)]
            number = max(taken, default=0) + 1
            while True:
                folder = parent / f"{number:04d}"
                try:
                    folder.mkdir()
                except FileExistsError:  # another job was quicker
                    number += 1
                else:
                    return folder

    def predictions(self) -> list[CasePrediction]:
        """Return the complete predictions, oldest first."""
        folders = _numbered(self.folder / "predictions")
        found = (read_prediction(folder) for folder in folders)
        return [prediction for prediction in found if prediction is not None]

    @property
    def prediction(self) -> CasePrediction | None:
        """The newest complete prediction, merged or not."""
        return next(reversed(self.predictions()), None)

    @property
    def merged(self) -> CasePrediction | None:
        """The prediction that the labels hold where no human spoke."""
        return self._with_number(self.description()["prediction"])

    @property
    def merging(self) -> CasePrediction | None:
        """The prediction that the labels hold in part: its merge did not end yet."""
        return self._with_number(self.description().get("merging"))

    def review(self) -> ReviewLog:
        """Return the log of verdicts."""
        return ReviewLog(self.folder / "review.jsonl")

    def open_labels(self) -> "LabelStore":
        """Open labels and authority for editing.

        Raises
        ------
        ProjectInUse
            If this process does not hold the project's lock.
        ReadError
            If a store is damaged.
        """
        from e2miseg_core.project.label_store import LabelStore

        return LabelStore(self)

    def description(self) -> dict[str, Any]:
        """Return what `case.json` says now.

        Raises
        ------
        ReadError
            If it is damaged.
        """
        return read_case_description(self.folder)

    def set_merged(self, number: int | None, *, merging: int | None) -> None:
        """Record which prediction the labels hold, and which is being merged.

        Parameters
        ----------
        number : int or None
            The one that they hold throughout; None for none.
        merging : int or None
            The one that they hold in part, after a merge that did not end.
        """
        values = {"prediction": number, "merging": merging}
        update_case_description(self.folder, values)

    def _with_number(self, number: int | None) -> CasePrediction | None:
        return next((p for p in self.predictions() if p.number == number), None)

    def _is_same(self, volume: Volume) -> bool:
        if not volume.geometry.matches(self.geometry):  # the cheaper question
            return False
        return same_image(self.description()["fingerprint"], fingerprint(volume))

    def _check_same(self, volume: Volume, uri: str) -> None:
        if self._is_same(volume):
            return
        known, found = self.description()["fingerprint"], fingerprint(volume)
        raise ReadError(
            found=f"{uri} is not the image of the case {self.name!r} "
            f"(SHA-256 {found['sha256'][:12]}, shape {volume.geometry.shape})",
            needed=f"the one that the case was made of (SHA-256 "
            f"{known['sha256'][:12]}, shape {self.geometry.shape})",
            do="put that image back, or add the new one as another case",
        )


def read_case(project: "Project", name: str) -> Case:
    """Read a case of a project.

    Raises
    ------
    ReadError
        If it is damaged or of a newer format.
    """
    folder = project.path / "cases" / name
    stored = read_case_description(folder)
    return Case(
        project=project,
        name=name,
        folder=folder,
        geometry=Geometry.from_json(stored["geometry"]),
        channels=tuple(stored["channels"]),
    )


def _numbered(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [entry for entry in folder.iterdir() if entry.name.isdigit()]
    return sorted(found, key=lambda entry: int(entry.name))
