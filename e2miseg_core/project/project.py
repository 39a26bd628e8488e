"""An annotation project: a folder of cases that share classes and a line of models."""

import secrets
import shutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from e2miseg_core.errors import ConfigError
from e2miseg_core.fit import check_fit
from e2miseg_core.io import open_volume
from e2miseg_core.io.atomic import sync_folder, writing_to
from e2miseg_core.io.naming import suggested_name
from e2miseg_core.model_card import LabelInfo, read_card
from e2miseg_core.models import find_model
from e2miseg_core.progress import Progress
from e2miseg_core.project.case_file import COPIED_IMAGE
from e2miseg_core.project.cases import Case, read_case
from e2miseg_core.project.clock import now
from e2miseg_core.project.jobs import new_job_name, remove_remains
from e2miseg_core.project.json_lines import append_line, read_lines
from e2miseg_core.project.lock import ProjectLock
from e2miseg_core.project.new_case import make_case, new_case_folder
from e2miseg_core.project.new_folder import remove_dead_folders
from e2miseg_core.project.project_file import (
    SUFFIX,
    check_new,
    read_classes,
    read_description,
    update_description,
    write_first_description,
)
from e2miseg_core.project.versions import (
    Version,
    add_version_folder,
    read_versions,
)
from e2miseg_core.volume import Volume

__all__ = ["Project"]

# Writes an image store at the path that it is given, such as one of `export_array`.
FillImage = Callable[[Path], Generator[Progress, None, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Project:
    """An annotation project on disk.

    What it says is read from the disk each time: viewer and worker see each other's
    changes. Make one with `Project.create` or `Project.open`.

    Attributes
    ----------
    path : Path
        The folder, `NAME.e2m`.
    classes : tuple of LabelInfo
        What labels may say.
    """

    path: Path
    classes: tuple[LabelInfo, ...]

    @classmethod
    def create(cls, path: str | Path, *, model: str | Path) -> Self:
        """Make a project, all or nothing.

        Parameters
        ----------
        path : str or Path
            Ends in `.e2m`; must not exist.
        model : str or Path
            Name or file of the model to begin with; it is copied in, and the project
            takes its classes.

        Raises
        ------
        WriteError
            If the folder exists or cannot be made.
        ModelError
            If there is no such model.
        """
        path = Path(path).expanduser().absolute()
        source = find_model(model)
        card = read_card(source)
        check_new(path)
        partial = path.with_name(f".{secrets.token_hex(4)}.partial{SUFFIX}")
        try:
            with writing_to(path):
                for folder in ("cases", "versions", "jobs"):
                    (partial / folder).mkdir(parents=True)
                add_version_folder(
                    partial / "versions",
                    source,
                    sentence=f"The project began with the model {card.name!r}.",
                    figures={},
                    parent=None,
                )
                write_first_description(partial, card.labels)
                partial.rename(path)
                sync_folder(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return cls(path=path, classes=card.labels)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a project.

        Raises
        ------
        ReadError
            If it is none, damaged, or of a newer format.
        """
        path = Path(path).expanduser().absolute()
        return cls(path=path, classes=read_classes(path))

    @property
    def name(self) -> str:
        """The folder's name without its suffix."""
        return self.path.stem

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the cases, in the order in which they were added."""
        return tuple(str(name) for name in self.description()["cases"])

    def case(self, name: str) -> Case:
        """Return a case.

        Raises
        ------
        ConfigError
            If there is none of that name.
        ReadError
            If it is damaged.
        """
        if name not in self.cases:
            raise ConfigError(
                found=f"no case {name!r} in {self.path.name}",
                needed="one of: " + (", ".join(self.cases) or "none yet"),
                do="choose another, or add the image first",
            )
        return read_case(self, name)

    def add_case(self, volume: Volume, *, name: str | None = None) -> Case:
        """Add an image by reference: it stays where it is.

        Parameters
        ----------
        volume : Volume
            From a file or a folder.
        name : str, optional
            Of the case; else the image's. Made unique and fit for a file name.

        Raises
        ------
        ModelError
            If the project's model cannot see such an image.
        ConfigError
            If the image is only in memory.
        WriteError
            If the project cannot be written.
        """
        uri = volume.source.uri if volume.source is not None else ""
        if not uri:
            raise ConfigError(
                found="an image that is only in memory",
                needed="an image in a file or a folder",
                do="save it first, or have it copied into the project",
            )
        check_fit(volume, self.version.card)
        with new_case_folder(self.path, name or suggested_name(uri)) as (
            partial,
            final,
        ):
            make_case(partial, volume, self.classes, self.path)
        return self.case(final)

    def add_copied_case(
        self, name: str, fill: FillImage
    ) -> Generator[Progress, None, Case]:
        """Add an image that is written into the project.

        Parameters
        ----------
        name : str
            Of the case; made unique and fit for a file name.
        fill : callable
            Gets the path of the OME-Zarr store to write, and yields Progress.

        Yields
        ------
        Progress
            Those of `fill`.

        Raises
        ------
        ModelError
            If the project's model cannot see such an image.
        WriteError
            If the project cannot be written.
        """
        with new_case_folder(self.path, name) as (partial, final):
            yield from fill(partial / COPIED_IMAGE)
            volume = open_volume(partial / COPIED_IMAGE)
            check_fit(volume, self.version.card)
            make_case(partial, volume, self.classes, self.path)
        return self.case(final)

    @property
    def versions(self) -> tuple[Version, ...]:
        """The model versions that were kept, ascending; the first is the starter."""
        return read_versions(self.path / "versions")

    @property
    def version(self) -> Version:
        """The model version in use."""
        return self._version(int(self.description()["version"]))

    def use_version(self, number: int) -> Version:
        """Make another version the one in use.

        Raises
        ------
        ConfigError
            If there is none of that number.
        """
        version = self._version(number)
        self._log(event="used", version=number)
        update_description(self.path, {"version": number})
        return version

    def add_version(
        self,
        model: Path,
        *,
        figures: Mapping[str, Any],
        sentence: str,
        parent: int | None = None,
    ) -> Version:
        """Copy a model in, as the version in use from now on; all or nothing.

        Parameters
        ----------
        model : Path
            The model file; left as it is.
        figures : mapping
            What keeping it rests on, JSON values.
        sentence : str
            The same for people.
        parent : int, optional
            Version that it was fine-tuned from; else the one in use.

        Raises
        ------
        ModelError
            If it is no whole model.
        WriteError
            If it cannot be written.
        """
        origin = self.version.number if parent is None else parent
        version = add_version_folder(
            self.path / "versions",
            model,
            sentence=sentence,
            figures=figures,
            parent=origin,
        )
        self._log(
            event="kept",
            version=version.number,
            parent=origin,
            sentence=sentence,
            figures=dict(figures),
        )
        update_description(self.path, {"version": version.number})
        return version

    def refuse_version(self, *, figures: Mapping[str, Any], sentence: str) -> None:
        """Record that a fine-tuned model was not better."""
        self._log(
            event="refused",
            parent=self.version.number,
            sentence=sentence,
            figures=dict(figures),
        )

    def history(self) -> list[dict[str, Any]]:
        """Return the log of versions kept, refused and used again, oldest first."""
        return read_lines(self.path / "versions.jsonl")

    def lock(self) -> ProjectLock:
        """Take the lock that editing labels needs.

        What programs that died have left half made is removed.

        Raises
        ------
        ProjectInUse
            If another program has it.
        """
        lock = ProjectLock(self.path)
        try:
            for folder in ("cases", "versions"):
                remove_dead_folders(self.path / folder)
            remove_remains(self.path)
        except BaseException:
            lock.close()
            raise
        return lock

    def new_job_folder(self) -> Path:
        """Make a new folder in `jobs/`, for a fine-tuning.

        Raises
        ------
        WriteError
            If it cannot be made.
        """
        folder = self.path / "jobs" / new_job_name()
        with writing_to(folder):
            folder.mkdir(parents=True)
        return folder

    def description(self) -> dict[str, Any]:
        """Return what `project.json` says now.

        Raises
        ------
        ReadError
            If it is damaged.
        """
        return read_description(self.path)

    def _version(self, number: int) -> Version:
        found = {version.number: version for version in self.versions}
        if number not in found:
            raise ConfigError(
                found=f"no model version {number}",
                needed="one of " + ", ".join(map(str, found)),
                do="choose another",
            )
        return found[number]

    def _log(self, **values: Any) -> None:
        append_line(self.path / "versions.jsonl", {"time": now(), **values})
