"""Fine-tune a project's model on what people have corrected, in a folder of its own.

JOB/request.json     what was asked for
JOB/lock             of the program that is at work on it, see `project.jobs`
JOB/prepared.json    written when crops/ and replay/ are complete, see `material`
JOB/checkpoint.safetensors, history.csv   see `trial`
JOB/model.safetensors   the new model, if it is kept
JOB/result.json      the verdict; crops and checkpoint are removed then
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ConfigError, ModelError, ReadError
from e2miseg_core.io.atomic import write_json, writing_to
from e2miseg_core.model import Model, load_model, save_model
from e2miseg_core.progress import Job
from e2miseg_core.project import Project, Version
from e2miseg_core.project.jobs import (
    MODEL,
    PREPARED,
    REQUEST,
    RESULT,
    is_untouched,
    kept_version,
    newest_unfinished,
    remove_material,
    working_on,
)
from e2miseg_core.project.sites import Site, find_sites
from e2miseg_core.training.finetune_settings import FinetuneSettings
from e2miseg_core.training.gate import Verdict
from e2miseg_core.training.material import load_material, prepare_material
from e2miseg_core.training.sites import SiteSplit, split_sites
from e2miseg_core.training.trial import run_trial
from e2miseg_core.training.tuning import FinetuneControl

__all__ = [
    "FinetuneControl",
    "FinetuneResult",
    "FinetuneSettings",
    "finetune_job",
    "unfinished_job",
]

JOB = "job"  # in the log: which job was refused


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
    hash: str  # of its model
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


def finetune_job(
    project: Project,
    settings: FinetuneSettings | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    control: FinetuneControl | None = None,
    replay: Path | None = None,
    refused: Path | None = None,
) -> Job[FinetuneResult]:
    """Fine-tune, test, and keep the new model as a version if it is better.

    It begins with the project's version in use, and has to beat the version that is in
    use when it is tested.

    Parameters
    ----------
    project : Project
        Its labels are read, not locked; what is painted later does not count.
    settings : FinetuneSettings, optional
        To resume: those of the beginning, or none.
    folder : Path, optional
        Of the job; else a new one in the project or, to resume, the one there that was
        begun last.
    resume : bool
        Go on with the job in `folder`. One that has ended gives its result again; an
        empty folder is that of a job that died before its first step.
    control : FinetuneControl, optional
    replay : Path, optional
        Training set of the model, where its card cannot supply cases to replay.
    refused : Path, optional
        File that gets the new model if it is not kept; else that is gone.

    Yields
    ------
    Progress
        Stages "looking for corrections", "preparing", "training", "testing".

    Raises
    ------
    ConfigError
        If there are too few corrections, or settings are wrong.
    ProjectInUse
        If somebody is at work in the folder.
    WriteError
        If the disk is full; the job can be resumed.
    """
    control = control or FinetuneControl()
    if resume and not (folder is not None and is_untouched(folder)):
        folder = folder or unfinished_job(project)
        if (folder / RESULT).exists():
            return _read_result(folder)
        with working_on(folder):
            return (yield from _go_on(project, settings, folder, control, refused))
    _check_new(folder)
    request = _make_request(project, settings, replay)
    base = request.load(project)
    split = yield from _split(project)  # too few are told before there is a folder
    folder = _make_folder(folder or project.new_job_folder())
    with working_on(folder):
        _check_new(folder)
        write_json(folder / REQUEST, asdict(request))
        yield from _prepare(project, base, request, split, folder)
        return (yield from _try(project, base, request, folder, control, refused))


def _go_on(
    project: Project,
    settings: FinetuneSettings | None,
    folder: Path,
    control: FinetuneControl,
    refused: Path | None,
) -> Job[FinetuneResult]:
    """Take an interrupted job up where it was."""
    request = _Request.read(folder)
    _check_same(request, settings, folder)
    version = kept_version(project, folder)
    if version is not None:
        project.use_version(version.number)
        return _end(folder, version.sentence, version.figures, version)
    for line in project.history():
        figures = dict(line.get("figures", {}))
        if line.get("event") == "refused" and figures.pop(JOB, "") == folder.name:
            return _end(folder, str(line["sentence"]), figures, None)
    base = request.load(project)
    if not (folder / PREPARED).exists():
        split = yield from _split(project)
        yield from _prepare(project, base, request, split, folder)
    return (yield from _try(project, base, request, folder, control, refused))


def _split(project: Project) -> Job[SiteSplit]:
    sites = yield from find_sites(project)
    return split_sites(sites, _earlier_split(project))


def _prepare(
    project: Project, base: Model, request: _Request, split: SiteSplit, folder: Path
) -> Job[None]:
    yield from prepare_material(
        project,
        base,
        request.settings,
        split=split,
        folder=folder,
        replay=request.replay_folder,
    )


def _try(
    project: Project,
    base: Model,
    request: _Request,
    folder: Path,
    control: FinetuneControl,
    refused: Path | None,
) -> Job[FinetuneResult]:
    """Train, test, and keep the new model or not."""
    material = yield from load_material(folder, base, request.replay_folder)
    verdict, found = yield from run_trial(
        folder,
        base,
        request.settings,
        material,
        control=control,
        rival=partial(_in_use, project, base),
        number=project.versions[-1].number + 1,
    )
    path = folder / MODEL if verdict.kept else refused
    if found is not None and path is not None:
        save_model(found.network, found.card, path)
    return _conclude(project, folder, verdict, request)


def _in_use(project: Project, base: Model) -> Model:
    """The model that a new one has to beat.

    Another than `base` where the user has gone to another version meanwhile.
    """
    version = project.version
    card = version.card
    if card.hash == base.card.hash:
        return base
    grid, other = (
        (c.spacing, c.patch_size, c.normalizations, c.channels)
        for c in (base.card, card)
    )
    if grid != other:
        raise ModelError(
            found=f"a fine-tuning of another kind of model than version "
            f"{version.number}, which is in use",
            needed="models that see the same voxels, to compare them",
            do="use the version again that it was begun with, or start a new one",
        )
    return load_model(version.path)


def unfinished_job(project: Project) -> Path:
    """The job of a project that was begun last; ReadError if that has ended."""
    folder = newest_unfinished(project.path)
    if folder is None:
        raise ReadError(
            found=f"no unfinished fine-tuning in {project.path.name}",
            needed="that the last one was interrupted",
            do="start a new one, or name the folder of an older one",
        )
    return folder


def _earlier_split(project: Project) -> SiteSplit:
    """What the versions of a project were made of and tested with so far."""
    parts: dict[str, list[Site]] = {"training": [], "held_out": []}
    for version in project.versions:
        tuning = version.card.training.get("finetuning", {})
        for part, sites in tuning.get("sites", {}).items():
            parts[part] += [Site.from_json(values) for values in sites]
    return SiteSplit(**{part: tuple(sites) for part, sites in parts.items()})


def _make_request(
    project: Project, settings: FinetuneSettings | None, replay: Path | None
) -> _Request:
    version = project.version
    return _Request(
        settings=settings or FinetuneSettings(),
        parent=version.number,
        hash=version.card.hash,
        replay="" if replay is None else str(replay.absolute()),
    )


def _make_folder(folder: Path) -> Path:
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
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
        figures = {**verdict.figures, JOB: folder.name}
        project.refuse_version(figures=figures, sentence=verdict.sentence)
    return _end(folder, verdict.sentence, verdict.figures, version)


def _end(
    folder: Path, sentence: str, figures: Mapping[str, Any], version: Version | None
) -> FinetuneResult:
    """Write the result; what only an unfinished job needs is removed."""
    values: dict[str, Any] = {
        "kept": version is not None,
        "sentence": sentence,
        "figures": dict(figures),
        "version": None if version is None else version.number,
    }
    write_json(folder / RESULT, values)
    remove_material(folder)
    return FinetuneResult(folder=folder, **values)


def _read_result(folder: Path) -> FinetuneResult:
    values = _read_json(folder / RESULT)
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
