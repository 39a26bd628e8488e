"""Fine-tune a project's model on what people have corrected, in a folder of its own.

JOB/request.json     what was asked for
JOB/prepared.json    written when crops/ and replay/ are complete, see `material`
JOB/checkpoint.safetensors, history.csv, model.safetensors   see `trial`
JOB/result.json      the verdict; crops and checkpoint are removed then
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ConfigError, ModelError, ReadError
from e2miseg_core.io.atomic import write_json, writing_to
from e2miseg_core.model import Model, load_model
from e2miseg_core.model_card import read_card
from e2miseg_core.models import find_model
from e2miseg_core.progress import Job
from e2miseg_core.project import Project, Version
from e2miseg_core.training.gate import Verdict
from e2miseg_core.training.material import (
    PREPARED,
    find_sites,
    load_material,
    prepare_material,
    remove_material,
)
from e2miseg_core.training.sites import Site, SiteSplit, split_sites
from e2miseg_core.training.trial import MODEL, run_trial
from e2miseg_core.training.tuning import (
    CHECKPOINT,
    FinetuneControl,
    FinetuneSettings,
)

__all__ = [
    "FinetuneControl",
    "FinetuneResult",
    "FinetuneSettings",
    "discard_job",
    "finetune_job",
    "unfinished_job",
]

SITES = "sites"  # in result.json: what was trained on and what tested with
REQUEST, RESULT = "request.json", "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneResult:
    """How a fine-tuning ended.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What a job was begun with: `request.json`."""

    settings: FinetuneSettings
    parent: int  # version in use
    model: str  # file, where it is not that version's
    hash: str  # of the model
    replay: str  # folder of its training set, or empty

    @classmethod
    def read(cls, folder: Path) -> "_Request":
        values = _read_json(folder / REQUEST)
        try:
            settings = FinetuneSettings.from_json(values.pop("settings"))
            return cls(settings=settings, **values)
        except (KeyError, TypeError) as error:
            raise _unusable(folder / REQUEST, error) from error

    def load(self, project: Project) -> Model:
        """The model to begin with."""
        version = next(v for v in project.versions if v.number == self.parent)
        model = load_model(self.model or version.path)
        if model.card.hash != self.hash:
            raise ModelError(
                found=f"another model {model.card.name!r} than the job was begun with",
                needed=f"the one of hash {self.hash[:12]}",
                do="start a new fine-tuning",
            )
        mine, theirs = (
            [c.value for c in p] for p in (model.card.labels, project.classes)
        )
        if mine != theirs:
            raise ModelError(
                found=f"a model of the labels {mine}",
                needed=f"the project's, {theirs}",
                do="choose a model of the same classes",
            )
        return model

    @property
    def replay_folder(self) -> Path | None:
        """The model's training set, if one was named."""
        return Path(self.replay) if self.replay else None


def finetune_job(
    project: Project,
    settings: FinetuneSettings | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    control: FinetuneControl | None = None,
    model: str | Path | None = None,
    replay: Path | None = None,
) -> Job[FinetuneResult]:
    """Fine-tune, test, and keep the new model as a version if it is better.

    Parameters
    ----------
    project : Project
        Its labels are read, not locked; what is painted later does not count.
    settings : FinetuneSettings, optional
        To resume: those of the beginning, or none.
    folder : Path, optional
        Of the job; else a new one in the project or, to resume, the newest there that
        has not ended.
    resume : bool
        Go on with the job in `folder`. One that has ended gives its result again; an
        empty folder is that of a job that died before its first step.
    control : FinetuneControl, optional
    model : str or Path, optional
        To begin with; else the project's version in use.
    replay : Path, optional
        Training set of the model, where its card cannot supply cases to replay.

    Yields
    ------
    Progress
        Stages "looking for corrections", "preparing", "training", "testing".

    Raises
    ------
    ConfigError
        If there are too few corrections, or settings are wrong.
    ModelError
        If the model does not have the project's classes.
    WriteError
        If the disk is full; the job can be resumed.
    """
    if resume and not _is_empty(folder):
        folder = folder or unfinished_job(project)
        if (folder / RESULT).exists():
            return _read_result(folder)
        request = _Request.read(folder)
        _check_same(request, settings, folder)
        if (version := _kept_version(project, folder)) is not None:
            return _end(folder, version.sentence, version.figures, version)
    else:
        _check_new(folder)
        request = _make_request(project, settings, model, replay)
    base = request.load(project)
    if folder is None or not (folder / PREPARED).exists():
        sites = yield from find_sites(project)
        # Too few are told before there is a folder.
        split = split_sites(sites, _earlier_split(project))
        folder = _begin(folder or project.new_job_folder(), request)
        yield from prepare_material(
            project,
            base,
            request.settings,
            split=split,
            folder=folder,
            replay=request.replay_folder,
        )
    material = yield from load_material(folder, base, request.replay_folder)
    verdict = yield from run_trial(
        folder,
        base,
        request.settings,
        material,
        control=control or FinetuneControl(),
        number=project.versions[-1].number + 1,
    )
    return _conclude(project, folder, verdict, request)


def unfinished_job(project: Project) -> Path:
    """The newest job of a project that has not ended; ReadError if there is none."""
    begun = sorted((project.path / "jobs").glob(f"*/{REQUEST}"))
    open_jobs = [path.parent for path in begun if not (path.parent / RESULT).exists()]
    if not open_jobs:
        raise ReadError(
            found=f"no unfinished fine-tuning in {project.path.name}",
            needed="one that was interrupted",
            do="start a new one",
        )
    return open_jobs[-1]


def discard_job(folder: Path) -> None:
    """Remove a job that is not wanted any more; one that has ended stays."""
    if (folder / REQUEST).exists() and not (folder / RESULT).exists():
        shutil.rmtree(folder, ignore_errors=True)


def _earlier_split(project: Project) -> SiteSplit:
    """What the versions of a project were made of and tested with so far."""
    parts: dict[str, list[Site]] = {"training": [], "held_out": []}
    for path in sorted((project.path / "jobs").glob(f"*/{RESULT}")):
        values = _read_json(path)
        for part, sites in parts.items():
            if values.get("kept"):
                sites += [Site.from_json(v) for v in values.get(SITES, {})[part]]
    return SiteSplit(**{part: tuple(sites) for part, sites in parts.items()})


def _make_request(
    project: Project,
    settings: FinetuneSettings | None,
    model: str | Path | None,
    replay: Path | None,
) -> _Request:
    version = project.version
    path = version.path if model is None else find_model(model).absolute()
    return _Request(
        settings=settings or FinetuneSettings(),
        parent=version.number,
        model="" if model is None else str(path),
        hash=read_card(path).hash,
        replay="" if replay is None else str(replay.absolute()),
    )


def _begin(folder: Path, request: _Request) -> Path:
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / REQUEST, asdict(request))
    return folder


def _conclude(
    project: Project, folder: Path, verdict: Verdict, request: _Request
) -> FinetuneResult:
    version = None
    if verdict.kept:
        version = project.add_version(
            folder / MODEL,
            figures=verdict.figures,
            sentence=verdict.sentence,
            parent=request.parent,
        )
    else:
        project.refuse_version(figures=verdict.figures, sentence=verdict.sentence)
    return _end(folder, verdict.sentence, verdict.figures, version)


def _kept_version(project: Project, folder: Path) -> Version | None:
    """The version that this job's model became just before it was interrupted."""
    if not (folder / MODEL).exists():
        return None
    own = read_card(folder / MODEL).hash
    for version in project.versions:
        if version.card.hash == own:
            return project.use_version(version.number)
    return None


def _end(
    folder: Path, sentence: str, figures: Mapping[str, Any], version: Version | None
) -> FinetuneResult:
    """Write the result; what only an unfinished job needs is removed."""
    sites = _read_json(folder / PREPARED)["sites"]
    values: dict[str, Any] = {
        "kept": version is not None,
        "sentence": sentence,
        "figures": dict(figures),
        "version": None if version is None else version.number,
    }
    write_json(folder / RESULT, {**values, SITES: sites})
    remove_material(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return FinetuneResult(folder=folder, **values)


def _read_result(folder: Path) -> FinetuneResult:
    values = _read_json(folder / RESULT)
    values.pop(SITES, None)
    try:
        return FinetuneResult(folder=folder, **values)
    except TypeError as error:
        raise _unusable(folder / RESULT, error) from error


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


def _is_empty(folder: Path | None) -> bool:
    return folder is not None and folder.is_dir() and not any(folder.iterdir())


def _check_new(folder: Path | None) -> None:
    if folder is not None and (folder / REQUEST).exists():
        raise ConfigError(
            found=f"a fine-tuning in {folder}",
            needed="a new folder",
            do="resume it, or choose another folder",
        )


def _check_same(
    request: _Request, settings: FinetuneSettings | None, folder: Path
) -> None:
    if settings is not None and settings != request.settings:
        raise ConfigError(
            found=f"other settings than those of the fine-tuning in {folder}",
            needed="the same, or none",
            do="leave them out, or start a new fine-tuning",
        )
