"""The versions of a project's model, and the log of how they came about."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import replacing, write_json
from e2miseg_core.model_card import ModelCard, read_card
from e2miseg_core.project.clock import now
from e2miseg_core.project.new_folder import new_folder

__all__ = ["Version", "add_version_folder", "read_versions"]

MODEL = "model.safetensors"
_DESCRIPTION = "version.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """One model that the project works or worked with.

    Attributes
    ----------
    number : int
        0 for the model that the project began with.
    path : Path
        The model file.
    sentence : str
        Why it was kept, for people.
    figures : mapping
        What that rests on, JSON values.
    made : str
        When, ISO 8601.
    parent : int or None
        The version that it was fine-tuned from.
    """

    number: int
    path: Path
    sentence: str
    figures: Mapping[str, Any]
    made: str
    parent: int | None

    @property
    def card(self) -> ModelCard:
        """The model's card, read from its file."""
        return read_card(self.path)


def read_versions(folder: Path) -> tuple[Version, ...]:
    """Read all versions in `versions/`, ascending.

    Raises
    ------
    ReadError
        If one is damaged.
    """
    found = [entry for entry in folder.iterdir() if entry.name.isdigit()]
    return tuple(_read(entry) for entry in sorted(found, key=lambda e: int(e.name)))


def add_version_folder(
    folder: Path,
    model: Path,
    *,
    sentence: str,
    figures: Mapping[str, Any],
    parent: int | None,
) -> Version:
    """Copy a model in as the next version, all or nothing.

    Parameters
    ----------
    folder : Path
        `versions/` of the project.
    model : Path
        A model file; its card and size are checked.
    sentence, figures, parent
        As in `Version`.

    Raises
    ------
    ModelError
        If it is no whole model.
    WriteError
        If it cannot be written.
    """
    read_card(model)
    taken = [int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()]
    number = max(taken, default=-1) + 1
    description = {
        "format": _FORMAT,
        "sentence": sentence,
        "figures": dict(figures),
        "made": now(),
        "parent": parent,
    }
    final = folder / f"{number:04d}"
    with new_folder(final) as partial:
        with replacing(partial / MODEL) as copy:
            shutil.copyfile(model, copy)
        write_json(partial / _DESCRIPTION, description)
    return _read(final)


def _read(folder: Path) -> Version:
    try:
        stored = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        parent = stored["parent"]
        return Version(
            number=int(folder.name),
            path=folder / MODEL,
            sentence=str(stored["sentence"]),
            figures=stored["figures"],
            made=str(stored["made"]),
            parent=None if parent is None else int(parent),
        )
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ReadError(
            found=f"{folder} without a readable {_DESCRIPTION} ({error})",
            needed="the model version as it was written",
            do="copy it from a backup, or remove the folder",
        ) from error
