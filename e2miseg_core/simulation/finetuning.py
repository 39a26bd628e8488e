"""What corrections bring for cases that nobody has touched."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.errors import ConfigError
from e2miseg_core.inference.prediction import predict_job
from e2miseg_core.inference.project import predict_case_job
from e2miseg_core.model import Model, load_model
from e2miseg_core.progress import Job
from e2miseg_core.project import Project, Verdict, read_edges
from e2miseg_core.simulation.robot import read_predicted
from e2miseg_core.simulation.settings import StudySettings
from e2miseg_core.simulation.subjects import Subject, told
from e2miseg_core.training.finetune import finetune_job
from e2miseg_core.training.sites import FEWEST_SITES
from e2miseg_core.uncertainty.edges import rank_edges

__all__ = ["CaseChange", "FinetuneEffect", "check_enough", "measure_finetuning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChange:
    """A case that nobody corrected, before and after others were.

    Attributes
    ----------
    case : str
    wrong : int
        Wrong voxels of the prediction before.
    expected, expected_refitted : float
        What the product expected of it, and what it expects once it has fitted its
        calibration to the corrected cases.
    note : str
        How that was calibrated, in the product's words.
    dice_before, dice_after : float
        Of its prediction by the model before and by the model in use afterwards.
    dice_refused : float or None
        Of its prediction by the new model where the gate refused that.
    """

    case: str
    wrong: int
    expected: float
    expected_refitted: float
    note: str
    dice_before: float
    dice_after: float
    dice_refused: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneEffect:
    """How a fine-tuning on corrected cases ended.

    Attributes
    ----------
    corrected : tuple of str
        Cases that the robot corrected.
    verdicts : mapping of Verdict to int
        Its verdicts, counted.
    kept : bool
        Whether the gate let the new model in.
    sentence : str
        The gate's.
    figures : mapping
        The gate's, but for the times that it took.
    others : tuple of CaseChange
        The remaining cases.
    """

    corrected: tuple[str, ...]
    verdicts: Mapping[Verdict, int]
    kept: bool
    sentence: str
    figures: Mapping[str, Any]
    others: tuple[CaseChange, ...]


def check_enough(subjects: Sequence[Subject], settings: StudySettings) -> None:
    """Raise ConfigError where a fine-tuning would find too little, before the work."""
    counts = [
        min(settings.most, len(subject.prediction.edges() or []))
        for subject in subjects[: settings.finetune]
    ]
    if sum(counts) < FEWEST_SITES:
        raise ConfigError(
            found=f"{sum(counts)} regions to correct in {len(counts)} cases",
            needed=f"at least {FEWEST_SITES} for a fine-tuning",
            do="fine-tune on more cases or regions, or leave it out by --finetune 0",
        )


def measure_finetuning(
    project: Project,
    subjects: Sequence[Subject],
    settings: StudySettings,
    *,
    replay: Path | None,
) -> Job[FinetuneEffect]:
    """Correct the first cases, fine-tune, and predict the others again.

    Parameters
    ----------
    project : Project
        Its lock is held.
    subjects : sequence of Subject
        Predicted; in none of them anything was corrected.
    settings : StudySettings
    replay : Path or None
        Training set of the model, where its card cannot supply cases to replay.

    Yields
    ------
    Progress
    """
    corrected = subjects[: settings.finetune]
    others = subjects[settings.finetune :]
    verdicts = Counter(
        verdict
        for subject in corrected
        for verdict in review_case(subject, settings.most)
    )
    before = yield from _before(others)
    with tempfile.TemporaryDirectory(prefix="e2miseg-") as name:
        refused = Path(name) / "refused.safetensors"
        result = yield from finetune_job(
            project,
            settings.finetuning,
            folder=project.new_job_folder(),
            replay=replay,
            refused=refused,
        )
        if result.kept:
            changes = yield from _after(project, others, before, settings)
        elif refused.exists():
            model = load_model(refused)
            changes = yield from _as_refused(model, others, before, settings)
        else:  # its training came to nothing
            changes = tuple(before)
    return FinetuneEffect(
        corrected=tuple(subject.case.name for subject in corrected),
        verdicts=dict(verdicts),
        kept=result.kept,
        sentence=result.sentence,
        figures={k: v for k, v in result.figures.items() if "seconds" not in k},
        others=changes,
    )


def review_case(subject: Subject, count: int) -> list[Verdict]:
    """Let the robot judge the first edges of a case; return its verdicts."""
    robot, log = subject.robot(), subject.case.review()
    number = subject.prediction.number
    edges = (subject.prediction.edges() or [])[:count]
    with subject.case.open_labels() as store:
        return [robot.review(store, log, edge, number) for edge in edges]


def _before(subjects: Sequence[Subject]) -> Job[list[CaseChange]]:
    """What is known of untouched cases once others are corrected."""
    found = []
    for subject in subjects:
        robot, labels = subject.robot(), read_predicted(subject.prediction)
        first = read_edges(subject.prediction.edges_path)
        refitted = yield from rank_edges(subject.case, prediction=subject.prediction)
        dice = robot.dice(labels)
        found.append(
            CaseChange(
                case=subject.case.name,
                wrong=int(np.count_nonzero(labels != robot.truth)),
                expected=first.total_expected,
                expected_refitted=refitted.total_expected,
                note=refitted.note,
                dice_before=dice,
                dice_after=dice,
            )
        )
    return found


def _after(
    project: Project,
    subjects: Sequence[Subject],
    before: Sequence[CaseChange],
    settings: StudySettings,
) -> Job[tuple[CaseChange, ...]]:
    """Predict untouched cases again by the model that is in use now."""
    version = project.version
    model = load_model(version.path)
    found = []
    for number, (subject, change) in enumerate(zip(subjects, before, strict=True), 1):
        job = predict_case_job(
            subject.case, model, settings.prediction, version=version.number
        )
        prediction = yield from told(job, f"case {number} of {len(subjects)} again")
        dice = subject.robot().dice(read_predicted(prediction))
        found.append(replace(change, dice_after=dice))
    return tuple(found)


def _as_refused(
    model: Model,
    subjects: Sequence[Subject],
    before: Sequence[CaseChange],
    settings: StudySettings,
) -> Job[tuple[CaseChange, ...]]:
    """Predict untouched cases by the model that was refused; the project has no part.

    Only a robot can: it knows their truth.
    """
    found = []
    for number, (subject, change) in enumerate(zip(subjects, before, strict=True), 1):
        with tempfile.TemporaryDirectory(prefix="e2miseg-") as name:
            volume = subject.case.open_image()
            job = predict_job(volume, model, Path(name), settings.prediction)
            where = f"case {number} of {len(subjects)} by the refused model"
            prediction = yield from told(job, where)
            labels = np.asarray(prediction.labels)
        found.append(replace(change, dice_refused=subject.robot().dice(labels)))
    return tuple(found)
