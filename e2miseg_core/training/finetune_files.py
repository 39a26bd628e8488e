"""What a fine-tuning's folder says of it: what was asked for, and how it ended."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ConfigError, ModelError, ReadError
from e2miseg_core.io.atomic import write_json
from e2miseg_core.model import Model, load_model
from e2miseg_core.project import Project, Version
from e2miseg_core.project.jobs import REQUEST, RESULT, remove_material
from e2miseg_core.training.finetune_settings import FinetuneSettings

__all__ = ["FinetuneRequest", "FinetuneResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneRequest:
    """What a job was begun with: `request.json`.

    Attributes
    ----------
    settings : FinetuneSettings
    parent : int
        Number of the version in use.
    hash : str
        Of its model.
    replay : str
        Folder of its training set, or empty.
    """

    settings: FinetuneSettings
    parent: int
    hash: str
    replay: str

    @classmethod
    def of(
        cls, project: Project, settings: FinetuneSettings | None, replay: Path | None
    ) -> "FinetuneRequest":
        """A request to begin with the version in use."""
        version = project.version
        return cls(
            settings=settings or FinetuneSettings(),
            parent=version.number,
            hash=version.card.hash,
            replay="" if replay is None else str(replay.absolute()),
        )

    @classmethod
    def read(cls, folder: Path) -> "FinetuneRequest":
        """ReadError if there is none that can be used."""
        values = _read_json(folder / REQUEST)
        try:
            settings = FinetuneSettings.from_json(values.pop("settings"))
            return cls(settings=settings, **values)
        except (KeyError, TypeError) as error:
            raise _unusable(folder / REQUEST, error) from error

    def write(self, folder: Path) -> None:
        """Put it into the job's folder, which then is begun."""
        write_json(folder / REQUEST, asdict(self))

    def load(self, project: Project) -> Model:
        """The model to begin with; ModelError if it is another one now."""
        version = next(v for v in project.versions if v.number == self.parent)
        model = load_model(version.path)
        if model.card.hash != self.hash:
            raise ModelError(
                found=f"another model {model.card.name!r} than the job was begun with",
                needed=f"the one of hash {self.hash[:12]}",
                do="start a new fine-tuning",
            )
        return model

    @property
    def replay_folder(self) -> Path | None:
        """The model's training set, if one was named."""
        return Path(self.replay) if self.replay else None

    def check_settings(self, settings: FinetuneSettings | None, folder: Path) -> None:
        """ConfigError if others are asked for than the job in `folder` has."""
        if settings is not None and settings != self.settings:
            raise ConfigError(
                found=f"other settings than those of the fine-tuning in {folder}",
                needed="the same, or none",
                do="leave them out, or start a new fine-tuning",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneResult:
    """How a fine-tuning ended: `result.json`.

    Attributes
    ----------
    kept : bool
        Whether the new model is better, and so the one in use from now on.
    sentence : str
        Why, for people.
    figures : mapping
        Why, JSON values.
    version : int or None
        Its number, if it was kept.
    folder : Path
        Of the job.
    """

    kept: bool
    sentence: str
    figures: Mapping[str, Any]
    version: int | None
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> "FinetuneResult":
        """ReadError if there is none that can be used."""
        values = _read_json(folder / RESULT)
        try:
            return cls(folder=folder, **values)
        except TypeError as error:
            raise _unusable(folder / RESULT, error) from error

    @classmethod
    def end(
        cls,
        folder: Path,
        sentence: str,
        figures: Mapping[str, Any],
        version: Version | None,
    ) -> "FinetuneResult":
        """Write the result; what only an unfinished job needs is removed."""
        values: dict[str, Any] = {
            "kept": version is not None,
            "sentence": sentence,
            "figures": dict(figures),
            "version": None if version is None else version.number,
        }
        write_json(folder / RESULT, values)
        remove_material(folder)
        return cls(folder=folder, **values)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    if not isinstance(values, dict):
        raise _unusable(path, "not an object")
    return values


def _unusable(path: Path, why: object) -> ReadError:
    return ReadError(
        found=f"{path} cannot be read ({why!s:.100})",
        needed="the folder of a fine-tuning",
        do="name its folder, or start a new one",
    )
