"""What every comparison of trained networks shares: cases, folders, scores, tables.

FOLDER/CONTENDER/result.json            what a contender says of itself
FOLDER/CONTENDER/predicted/HOW/*.nii.gz its labels of the unseen cases
FOLDER/table.md, table.json             all contenders that have finished
"""

import json
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.evaluation import CaseScores, Report, evaluate_case
from e2miseg_core.evaluation.intervals import bootstrap_interval
from e2miseg_core.inference.files import OutputPaths, predict_file
from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.io import open_labels
from e2miseg_core.model import Model
from e2miseg_core.progress import run
from e2miseg_core.training.dataset import Case, Dataset, find_dataset
from e2miseg_core.training.splits import Split, split_cases

__all__ = [
    "TOLERANCE_MM",
    "Contest",
    "markdown",
    "mean_and_interval",
    "peak_mib",
    "predict_unseen",
    "read_json",
    "score",
    "write_json",
    "written",
]

TOLERANCE_MM = 1.0


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One fold of one data set, a wall-clock budget, and a folder for all of it."""

    source: Path
    folder: Path
    fold: int = 0
    minutes: float = 20.0
    threads: int = 2
    channel: str | None = None
    seed: int = 12345

    def to_json(self) -> dict[str, Any]:
        return {
            k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Contest":
        paths = {key: Path(values[key]) for key in ("source", "folder")}
        return cls(**{**values, **paths})

    @cached_property
    def dataset(self) -> Dataset:
        found = find_dataset(self.source)
        return (
            found if self.channel is None else replace(found, channels=(self.channel,))
        )

    @cached_property
    def by_name(self) -> dict[str, Case]:
        return {case.name: case for case in self.dataset.cases}

    @cached_property
    def split(self) -> Split:
        return split_cases(list(self.by_name), fold=self.fold)

    def cases(self, names: Iterable[str]) -> list[Case]:
        return [self.by_name[name] for name in names]

    @property
    def unseen(self) -> list[Case]:
        return self.cases(self.split.unseen)

    def predicted(self, contender: str, how: str) -> Path:
        return self.folder / contender / "predicted" / how

    def result(self, contender: str) -> Path:
        return self.folder / contender / "result.json"


def predict_unseen(contest: Contest, contender: str, model: Model) -> dict[str, Any]:
    """Predict the unseen cases file to file, plainly and mirrored; time both."""
    found = {}
    for how, mirror in (("plain", False), ("mirrored", True)):
        folder = contest.predicted(contender, how)
        folder.mkdir(parents=True, exist_ok=True)
        options = PredictionOptions(mirror=mirror, device="cpu")
        began = time.monotonic()
        for case in contest.unseen:
            outputs = OutputPaths(labels=folder / f"{case.name}.nii.gz")
            run(predict_file(case.images[0], outputs, model, options, overwrite=True))
        seconds = time.monotonic() - began
        found[how] = {"seconds_per_case": seconds / len(contest.unseen)}
    return found


def peak_mib() -> int:
    """Most memory that this process or a child of it has held."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(max(resource.getrusage(one).ru_maxrss for one in who) / 1024)


def score(
    contest: Contest, predicted_of: Callable[[Case], NDArray[np.integer[Any]]]
) -> Report:
    """Compare labels of the unseen cases with their truth, on the truth's grid."""
    names = {label.value: label.name for label in contest.dataset.labels}
    scores = []
    for case in contest.unseen:
        truth = open_labels(case.labels)
        spacing = truth.geometry.in_unit("mm").spacing
        classes = evaluate_case(
            predicted_of(case),
            np.asarray(truth.data[0]),
            spacing,
            names,
            tolerance_mm=TOLERANCE_MM,
        )
        scores.append(
            CaseScores(case=case.name, predicted="", reference="", classes=classes)
        )
    return Report(cases=tuple(scores), label_names=names, tolerance_mm=TOLERANCE_MM)


def written(folder: Path) -> Callable[[Case], NDArray[np.integer[Any]]]:
    """Labels of a case as a contender wrote them into a folder."""
    return lambda case: np.asarray(open_labels(folder / f"{case.name}.nii.gz").data[0])


def mean_and_interval(values: Sequence[float], digits: int) -> str:
    """Mean over the cases with its 95 % interval, in words for a table."""
    mean = sum(values) / len(values)
    found = bootstrap_interval(values)
    if found is None:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
