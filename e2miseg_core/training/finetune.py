"""Fine-tune a project's model on what people have corrected, in a folder of its own.

JOB/request.json     what was asked for
JOB/lock             of the program that is at work on it, see `project.jobs`
JOB/prepared.json    written when crops/ and replay/ are complete, see `material`
JOB/checkpoint.safetensors, history.csv   see `trial`
JOB/model.safetensors   the new model, if it is kept
JOB/result.json      the verdict; crops and checkpoint are removed then
"""

from functools import partial
from pathlib import Path

from e2miseg_core.errors import ConfigError, ModelError, ReadError
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.model import Model, load_model, save_model
from e2miseg_core.progress import Job
from e2miseg_core.project import Project
from e2miseg_core.project.jobs import (
    MODEL,
    PREPARED,
    REQUEST,
    RESULT,
    is_untouched,
    kept_version,
    newest_unfinished,
    working_on,
)
from e2miseg_core.project.sites import Site, find_sites
from e2miseg_core.training.finetune_files import FinetuneRequest, FinetuneResult
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
            return FinetuneResult.read(folder)
        with working_on(folder):
            return (yield from _go_on(project, settings, folder, control, refused))
    _check_new(folder)
    request = FinetuneRequest.of(project, settings, replay)
    base = request.load(project)
    split = yield from _split(project)  # too few are told before there is a folder
    folder = _make_folder(folder or project.new_job_folder())
    with working_on(folder):
        _check_new(folder)
        request.write(folder)
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
    request = FinetuneRequest.read(folder)
    request.check_settings(settings, folder)
    version = kept_version(project, folder)
    if version is not None:
        project.use_version(version.number)
        return FinetuneResult.end(folder, version.sentence, version.figures, version)
    for line in project.history():
        figures = dict(line.get("figures", {}))
        if line.get("event") == "refused" and figures.pop(JOB, "") == folder.name:
            return FinetuneResult.end(folder, str(line["sentence"]), figures, None)
    base = request.load(project)
    if not (folder / PREPARED).exists():
        split = yield from _split(project)
        yield from _prepare(project, base, request, split, folder)
    return (yield from _try(project, base, request, folder, control, refused))


def _split(project: Project) -> Job[SiteSplit]:
    sites = yield from find_sites(project)
    return split_sites(sites, _earlier_split(project))


def _prepare(
    project: Project,
    base: Model,
    request: FinetuneRequest,
    split: SiteSplit,
    folder: Path,
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
    request: FinetuneRequest,
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


def _make_folder(folder: Path) -> Path:
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _conclude(
    project: Project, folder: Path, verdict: Verdict, request: FinetuneRequest
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
    return FinetuneResult.end(folder, verdict.sentence, verdict.figures, version)


def _check_new(folder: Path | None) -> None:
    if folder is not None and (folder / REQUEST).exists():
        raise ConfigError(
            found=f"a fine-tuning in {folder}",
            needed="a new folder",
            do="resume it, or choose another folder",
        )
