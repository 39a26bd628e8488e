"""Predict the sample, let a robot correct its uncertain edges, fine-tune, go again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box
from e2miseg_core.demo.pictures import Stage, write_picture
from e2miseg_core.errors import ModelError
from e2miseg_core.evaluation import average_precision
from e2miseg_core.fit import check_fit
from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.inference.project import predict_into_labels_job
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.model import load_model
from e2miseg_core.models import list_models
from e2miseg_core.progress import Job, Progress, run
from e2miseg_core.project import Case, CasePrediction, Project
from e2miseg_core.project.label_store import LabelStore
from e2miseg_core.samples import sample_labels_path, sample_path
from e2miseg_core.simulation.robot import Robot, read_labels, read_predicted
from e2miseg_core.training.finetune import FinetuneSettings, finetune_job
from e2miseg_core.uncertainty.error_map import from_uint8
from e2miseg_core.volume import Volume

__all__ = ["choose_demo_model", "run_headless"]

DEMO_MODEL = "phantom-lesions"
PROJECT = "phantom.e2m"
EDGES = 12  # that the robot reviews
STEPS = 60  # of the fine-tuning: about a minute on two cores


def choose_demo_model(volume: Volume) -> str:
    """The starter model for the sample; another that fits if it is not installed.

    Raises
    ------
    ModelError
        If no installed model fits.
    """
    entries = {entry.name: entry for entry in list_models()}
    for name in (DEMO_MODEL, *sorted(entries)):
        if name in entries:
            try:
                check_fit(volume, entries[name].card)
            except ModelError:
                continue
            return name
    raise ModelError(
        found="no model that fits the sample volume",
        needed=f"the starter model {DEMO_MODEL!r}",
        do="install the package again; it brings the model",
    )


def run_headless(
    folder: Path,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    steps: int = STEPS,
) -> str:
    """Go once round the loop with the sample volume; write a project and pictures.

    Parameters
    ----------
    folder : Path
        Made if need be; pictures of an earlier demonstration in it are replaced, its
        project stays, since somebody may have worked on it.
    on_progress : callable, optional
    steps : int
        Of the fine-tuning.

    Returns
    -------
    str
        What was done, with figures, for people.
    """
    return run(_loop_job(folder, steps), on_progress)


def _loop_job(folder: Path, steps: int) -> Job[str]:
    folder.mkdir(parents=True, exist_ok=True)
    volume = open_volume(sample_path())
    path = _free(folder / PROJECT)
    project = Project.create(path, model=choose_demo_model(volume))
    case = project.add_case(volume)
    with project.lock():
        store = case.open_labels()
        try:
            told = _Told(folder, volume, case, store, _robot(project))
            yield from _go_round(told, project, steps)
        finally:
            store.close()
    return "\n".join([*told.lines, *told.last_words()])


def _robot(project: Project) -> Robot:
    truth = np.asarray(open_labels(sample_labels_path()).data[0])
    return Robot(truth=truth, classes=project.classes)


def _go_round(told: "_Told", project: Project, steps: int) -> Job[None]:
    """Predict, correct, fine-tune, predict again."""
    first = yield from _predict(told)
    edges = first.edges() or []
    told.show("1-predicted", first, [edge.box for edge in edges])
    told.say_predicted(first)
    log = told.case.review()
    for done, edge in enumerate(edges[:EDGES], start=1):
        told.robot.review(told.store, log, edge, first.number)
        yield Progress(done=done, total=min(EDGES, len(edges)), stage="correcting")
    told.store.flush()
    told.show("2-corrected", first, [])
    verdicts = [verdict for _, verdict in log.sites()]
    told.say(
        f"The robot looked at the {len(verdicts)} worst edges, corrected "
        f"{verdicts.count('corrected')} and accepted {verdicts.count('fine')}: "
        f"Dice {told.robot.dice(read_labels(told.store)):.3f}."
    )
    result = yield from finetune_job(project, FinetuneSettings(steps=steps))
    told.say(f"Fine-tuning, {steps} steps: {result.sentence}")
    if result.kept:
        again = yield from _predict(told)
        told.show("3-predicted-again", again, [e.box for e in again.edges() or []])
        machine = told.robot.dice(read_predicted(again))
        told.say(
            f"The new version alone: Dice {machine:.3f}; with what was corrected: "
            f"{told.robot.dice(read_labels(told.store)):.3f}."
        )


def _predict(told: "_Told") -> Job[CasePrediction]:
    """Predict with the project's version in use."""
    version = told.case.project.version
    model = load_model(version.path)
    return (
        yield from predict_into_labels_job(
            told.store, model, PredictionOptions(), version=version.number
        )
    )


@dataclass(eq=False)
class _Told:
    """What the demonstration works on, and what it has to tell."""

    folder: Path
    volume: Volume
    case: Case
    store: LabelStore
    robot: Robot

    def __post_init__(self) -> None:
        self.lines: list[str] = []
        self.pictures: list[Path] = []
        self._image = np.asarray(self.volume.data[0])
        self._row: int | None = None

    def say(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def say_predicted(self, prediction: CasePrediction) -> None:
        """Say how good the first prediction and its error map are."""
        labels = read_predicted(prediction)
        wrong = labels != self.robot.truth
        found = average_precision(_errors(prediction).ravel(), wrong.ravel())
        self.say(
            f"Predicted the sample in {prediction.figures['seconds']:.1f} s: "
            f"Dice {self.robot.dice(labels):.3f} against its exact truth. The error "
            f"map finds the wrong voxels with an average precision of {found:.2f} "
            f"(chance: {wrong.mean():.3f})."
        )

    def show(self, name: str, prediction: CasePrediction, boxes: list[Box]) -> None:
        """Write a picture, of the slice that had the most expected error at first."""
        errors = _errors(prediction)
        if self._row is None:
            self._row = int(errors.sum(axis=(1, 2)).argmax())
        stage = Stage(labels=read_labels(self.store), errors=errors, boxes=boxes)
        path = self.folder / f"{name}.png"
        geometry, classes = self.volume.geometry, self.case.project.classes
        write_picture(path, self._image, geometry, classes, stage, self._row)
        self.pictures.append(path)

    def last_words(self) -> list[str]:
        """Say where everything is."""
        return [
            "Pictures: " + ", ".join(str(path) for path in self.pictures) + " (a slice "
            "three times: the image, the labels, and in magenta where the labels may "
            "be wrong, with the uncertain edges outlined).",
            f"Project: {self.case.project.path} (open it in napari, or see "
            "`e2miseg project info`).",
            "With a display, the demonstration opens napari instead.",
        ]


def _errors(prediction: CasePrediction) -> NDArray[np.float32]:
    stored: NDArray[np.uint8] = np.asarray(open_volume(prediction.error_map).data[0])
    return from_uint8(stored)


def _free(path: Path) -> Path:
    """The path itself, or the first one with a number that is free."""
    found, number = path, 2
    while found.exists():
        found, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return found
