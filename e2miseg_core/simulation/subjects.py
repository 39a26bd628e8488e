"""The cases of a study: predicted in a project, with a robot that knows the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from e2miseg_core.errors import DatasetError
from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.inference.project import predict_case_job
from e2miseg_core.model import Model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project import Case, CasePrediction, Project
from e2miseg_core.simulation.robot import Robot, open_labelled_case
from e2miseg_core.training.dataset import Case as LabelledCase
from e2miseg_core.training.dataset import Dataset

__all__ = ["Subject", "add_subjects", "choose_cases", "told"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """One case of a study.

    Attributes
    ----------
    case : Case
        In the project.
    labelled : LabelledCase
        In the data set.
    prediction : CasePrediction
        By the model that the project began with.
    """

    case: Case
    labelled: LabelledCase
    prediction: CasePrediction

    def robot(self) -> Robot:
        """Return a robot that knows its truth, which is read anew."""
        return open_labelled_case(self.labelled, self.case.project.classes)[1]


def choose_cases(
    dataset: Dataset, card: ModelCard, count: int | None = None
) -> tuple[LabelledCase, ...]:
    """Cases that a model can be judged on.

    Parameters
    ----------
    dataset : Dataset
    card : ModelCard
        Of the model.
    count : int, optional
        The first so many in the order of their names; else all.

    Returns
    -------
    tuple of LabelledCase
        Where the data set holds what the model was trained on, only cases that its
        card lists as unseen.

    Raises
    ------
    DatasetError
        If there are fewer.
    """
    used = {
        n for part in ("training", "selection") for n in card.training.get(part, ())
    }
    own = bool(used) and used <= {case.name for case in dataset.cases}
    unseen = set(card.training.get("unseen", ()))
    cases = tuple(c for c in dataset.cases if not own or c.name in unseen)
    wanted = len(cases) if count is None else count
    if not 1 <= wanted <= len(cases):
        kind = f" that the model {card.name!r} has not seen" if own else ""
        raise DatasetError(
            found=f"{len(cases)} cases{kind} in {dataset.name}",
            needed=f"{max(1, wanted)} cases",
            do="ask for fewer with --cases, or take another data set",
        )
    return cases[:wanted]


def add_subjects(
    project: Project,
    cases: Sequence[LabelledCase],
    model: Model,
    options: PredictionOptions,
) -> Job[list[Subject]]:
    """Add labelled cases to a new project, and predict them.

    Yields
    ------
    Progress
    """
    subjects = []
    for number, labelled in enumerate(cases, start=1):
        image, _ = open_labelled_case(labelled, project.classes)
        case = project.add_case(image, name=labelled.name)
        job = predict_case_job(case, model, options, version=project.version.number)
        prediction = yield from told(job, f"case {number} of {len(cases)}")
        subjects.append(Subject(case=case, labelled=labelled, prediction=prediction))
    return subjects


def told(job: Job[T], what: str) -> Job[T]:
    """Another job, its steps said to be of `what`."""
    try:
        while True:
            try:
                step = next(job)
            except StopIteration as end:
                value: T = end.value
                return value
            stage = f"{what}: {step.stage}"
            yield Progress(done=step.done, total=step.total, stage=stage)
    finally:
        job.close()  # where this one was stopped
