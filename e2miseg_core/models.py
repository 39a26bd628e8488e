"""Starter and installed models, by name. Cards only: no torch here."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from e2miseg_core.errors import ModelError, WriteError
from e2miseg_core.io.atomic import replacing, writing_to
from e2miseg_core.model_card import ModelCard, read_card

__all__ = [
    "ModelEntry",
    "add_model",
    "find_model",
    "list_models",
    "models_folder",
    "name_to_install",
]

SUFFIX = ".safetensors"
STARTERS = Path(__file__).parent / "starters"
UNNAMED = "model"  # what every training calls its file


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model that can be called by name."""

    name: str
    path: Path
    card: ModelCard
    starter: bool


def models_folder() -> Path:
    """Where `models add` puts models; need not exist yet."""
    return Path(platformdirs.user_data_dir("e2miseg", appauthor=False)) / "models"


def list_models() -> list[ModelEntry]:
    """Starter models and installed ones, by name; unreadable files are left out.

    An installed model hides a starter of the same name.
    """
    entries: dict[str, ModelEntry] = {}
    for path in _model_files():
        try:
            card = read_card(path)
        except ModelError:
            continue  # a foreign or half-copied file must not hide the others
        entries[path.stem] = ModelEntry(
            name=path.stem, path=path, card=card, starter=path.parent == STARTERS
        )
    return [entries[name] for name in sorted(entries)]


def find_model(name: str | Path) -> Path:
    """Path of a model, given its name or a file.

    Raises
    ------
    ModelError
        If there is none; the message lists the names there are.
    """
    path = Path(name)
    if path.suffix == SUFFIX and path.is_file():
        return path
    entries = {entry.name: entry for entry in list_models()}
    if str(name) in entries:
        return entries[str(name)].path
    names = ", ".join(entries) or "none"
    raise ModelError(
        found=f"no model {str(name)!r}",
        needed=f"a {SUFFIX} file or one of: {names}",
        do="see `e2miseg models list`",
    )


def name_to_install(path: str | Path, card: ModelCard) -> str:
    """By which name a model file is called once it is installed.

    That of the file; of the file that a training leaves, that in its card, which is
    `--name`, with what no file name may hold left out.
    """
    stem = Path(path).stem
    return (_as_file_name(card.name) if stem == UNNAMED else "") or stem


def add_model(
    path: str | Path, *, name: str | None = None, overwrite: bool = False
) -> ModelEntry:
    """Copy a model file into the models folder; its card and size are checked first.

    Parameters
    ----------
    path : str or Path
    name : str, optional
        By which it is called, instead of `name_to_install`.
    overwrite : bool
        Replace a model of that name.

    Raises
    ------
    ModelError
        If the file is no model, or the name cannot be that of a file.
    WriteError
        If a model of that name is there already, or the copy fails.
    """
    path = Path(path)
    card = read_card(path)
    if name is not None and (not name or _as_file_name(name) != name):
        raise ModelError(
            found=f"the name {name!r:.60} for a model",
            needed="letters, digits, '.', '-' and '_', the first a letter or digit",
            do="choose another --name",
        )
    name = name or name_to_install(path, card)
    target = models_folder() / f"{name}{SUFFIX}"
    if target.exists() and not overwrite:
        raise WriteError(
            found=f"a model named {name!r} is installed already",
            needed="another name",
            do="add --name NAME, or --overwrite to replace it",
        )
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        shutil.copyfile(path, partial)
    return ModelEntry(name=name, path=target, card=card, starter=False)


def _as_file_name(name: str) -> str:
    """A name without what a file name may not hold on some system; maybe empty."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-._")


def _model_files() -> Iterator[Path]:
    for folder in (STARTERS, models_folder()):
        if folder.is_dir():
            yield from sorted(p for p in folder.glob(f"*{SUFFIX}") if p.name[0] != ".")
