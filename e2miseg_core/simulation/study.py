"""A study: a robot annotates labelled cases with the product, and it is measured."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from e2miseg_core.errors import DatasetError, WriteError
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.model import load_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.models import find_model
from e2miseg_core.progress import Job
from e2miseg_core.project import Project
from e2miseg_core.simulation.effort import CaseEffort, measure_effort
from e2miseg_core.simulation.finetuning import (
    FinetuneEffect,
    check_enough,
    measure_finetuning,
)
from e2miseg_core.simulation.settings import StudySettings
from e2miseg_core.simulation.subjects import (
    Subject,
    add_subjects,
    choose_cases,
    told,
)
from e2miseg_core.training.dataset import Dataset

__all__ = ["REPORT", "TABLES", "Study", "simulate_job"]

PROJECT, REPORT, TABLES = "study.e2m", "report.json", "report.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All that a study found.

    Attributes
    ----------
    dataset : str
    card : ModelCard
        Of the model to begin with.
    settings : StudySettings
    efforts : tuple of CaseEffort
        One a case.
    finetuning : FinetuneEffect or None
        None where it was not asked for.
    """

    dataset: str
    card: ModelCard
    settings: StudySettings
    efforts: tuple[CaseEffort, ...]
    finetuning: FinetuneEffect | None


def simulate_job(
    dataset: Dataset,
    model: str | Path,
    folder: Path,
    settings: StudySettings,
    *,
    n_cases: int | None = None,
    replay: Path | None = None,
) -> Job[Study]:
    """Annotate the cases of a data set with a robot.

    The same arguments give the same figures on the same machine. Each case is held in
    memory as a whole while it is annotated.

    Parameters
    ----------
    dataset : Dataset
        Images with their true labels. Of the data set that the model was trained on,
        only cases that it has not seen are taken.
    model : str or Path
        Name or file.
    folder : Path
        Made if need be. Gets the project `study.e2m`, with everything that the robot
        did: it can be opened and looked at.
    settings : StudySettings
    n_cases : int, optional
        The first so many cases; else all.
    replay : Path, optional
        Training set of the model, where its card cannot supply cases to replay.

    Yields
    ------
    Progress

    Raises
    ------
    DatasetError
        If there are too few cases, or a label is none of the model's.
    WriteError
        If the folder holds a study already, or cannot be written.
    ModelError, ConfigError, ReadError
        As the functions of the product that are used.
    """
    path = find_model(model)
    loaded = load_model(path)
    cases = choose_cases(dataset, loaded.card, n_cases)
    if len(cases) <= settings.finetune:
        raise DatasetError(
            found=f"{len(cases)} cases",
            needed=f"more than the {settings.finetune} to fine-tune on",
            do="take more cases, or fewer with --finetune",
        )
    with _new_project(folder, path) as project:
        subjects = yield from add_subjects(project, cases, loaded, settings.prediction)
        if settings.finetune:
            check_enough(subjects, settings)
        efforts = yield from _efforts(subjects, settings)
        effect = None
        if settings.finetune:
            effect = yield from measure_finetuning(
                project, subjects, settings, replay=replay
            )
    return Study(
        dataset=dataset.name,
        card=loaded.card,
        settings=settings,
        efforts=efforts,
        finetuning=effect,
    )


@contextmanager
def _new_project(folder: Path, model: Path) -> Iterator[Project]:
    """A project whose lock is held; half a study leaves none."""
    if any((folder / name).exists() for name in (PROJECT, REPORT, TABLES)):
        raise WriteError(
            found=f"{folder} holds a study already",
            needed="a folder without one",
            do="choose another folder, or remove this one",
        )
    fresh = not folder.exists()
    complete = False
    try:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        project = Project.create(folder / PROJECT, model=model)
        with project.lock():
            yield project
        complete = True
    finally:
        if not complete:
            shutil.rmtree(folder / PROJECT, ignore_errors=True)
            if fresh:
                with suppress(OSError):  # somebody else put something there
                    folder.rmdir()


def _efforts(
    subjects: Sequence[Subject], settings: StudySettings
) -> Job[tuple[CaseEffort, ...]]:
    found = []
    for number, subject in enumerate(subjects, start=1):
        job = measure_effort(
            subject.case, subject.prediction, subject.robot(), settings
        )
        effort = yield from told(job, f"case {number} of {len(subjects)}, correcting")
        found.append(effort)
    return tuple(found)
