"""What every comparison of trained networks shares: cases, folders, scores, tables.

FOLDER/contest.json                     the settings, the same for all that it holds
FOLDER/CONTENDER/result.json            what a contender says of itself
FOLDER/CONTENDER/predicted/HOW/*.nii.gz its labels of the unseen cases
FOLDER/table.md, table.json             all contenders that have finished
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import machine
from e2miseg_core.errors import ConfigError, DatasetError, E2MISegError
from e2miseg_core.evaluation import CaseScores, Report, evaluate_case
from e2miseg_core.evaluation.intervals import bootstrap_interval
from e2miseg_core.inference.files import OutputPaths, predict_file
from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.io import open_labels
from e2miseg_core.io.atomic import replacing
from e2miseg_core.model import Model
from e2miseg_core.progress import run
from e2miseg_core.training.dataset import Case, Dataset, find_dataset
from e2miseg_core.training.plan import PlanOverrides
from e2miseg_core.training.splits import Split, SplitRule

__all__ = [
    "FIGURES",
    "TOLERANCE_MM",
    "Contest",
    "figures_of",
    "in_one_line",
    "kept_settings",
    "markdown",
    "mean_and_interval",
    "predict_unseen",
    "read_json",
    "score",
    "write_json",
    "written",
]

TOLERANCE_MM = 1.0
FIGURES = {  # title and decimals by the name of a score
    "dice": ("Dice", 4),
    "hd95_mm": ("HD95, mm", 2),
    "nsd": ("NSD at 1 mm", 4),
}
WAYS = ("plain", "mirrored")  # of predicting
SETTINGS = "contest.json"
OWN = ("folder", "seed")  # what contestants of one folder need not share


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One fold of one data set, a wall-clock budget, and a folder for all of it.

    `normalization` is that of every channel, for the contenders that we train, by its
    name in `e2miseg train`; None leaves it to the plan. `groups` is a table of the
    cases of one patient, for `e2miseg train --groups`.
    """

    source: Path
    folder: Path
    fold: int = 1
    minutes: float = 20.0
    threads: int = 2
    channel: str | None = None
    normalization: str | None = None
    groups: Path | None = None
    seed: int = 12345

    def to_json(self) -> dict[str, Any]:
        return {
            k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Contest":
        paths = {
            key: None if values[key] is None else Path(values[key])
            for key in ("source", "folder", "groups")
        }
        return cls(**{**values, **paths})

    @property
    def settings(self) -> dict[str, Any]:
        """What all results of the folder have in common, as JSON values."""
        values = {k: v for k, v in self.to_json().items() if k not in OWN}
        values |= {
            "source": str(self.source.resolve()),
            "groups": self.groups and str(self.groups.resolve()),
            "cases": len(self.dataset.cases),
            "machine": machine().partition(", load")[0],
        }
        found: dict[str, Any] = json.loads(json.dumps(values))
        return found

    def keep_settings(self) -> None:
        """Put the settings into the folder; ConfigError if it has others."""
        kept, mine = kept_settings(self.folder), self.settings
        if kept is None and any(self.folder.glob("*/result.json")):
            raise ConfigError(
                found=f"results without {SETTINGS} in {self.folder}",
                needed="results whose settings are known",
                do="choose another folder",
            )
        if kept is None:
            write_json(self.folder / SETTINGS, mine)
        elif kept != mine:
            differ = [k for k in mine | kept if mine.get(k) != kept.get(k)]
            if not differ:  # a setting that was not there when they were kept
                return
            raise ConfigError(
                found=", ".join(f"{key} {mine.get(key)}" for key in differ),
                needed=", ".join(f"{key} {kept.get(key)}" for key in differ)
                + f", as the results in {self.folder} have it",
                do="repeat the options of the first call, or choose another folder",
            )

    @cached_property
    def dataset(self) -> Dataset:
        found = find_dataset(self.source)
        if self.channel is not None:
            found = replace(found, channels=(self.channel,))
        several = [case.name for case in found.cases if len(case.images) > 1]
        if several or len(found.channels) > 1:
            raise DatasetError(
                found=f"several channels in {several[0] if several else self.source}",
                needed="cases of one file with one channel: all contenders see it",
                do="choose another data set",
            )
        return found

    @cached_property
    def by_name(self) -> dict[str, Case]:
        return {case.name: case for case in self.dataset.cases}

    @cached_property
    def split(self) -> Split:
        return self.split_by.split(list(self.by_name), fold=self.fold)

    @property
    def split_by(self) -> SplitRule:
        return SplitRule(table=self.groups)

    def cases(self, names: Iterable[str]) -> list[Case]:
        return [self.by_name[name] for name in names]

    @property
    def overrides(self) -> PlanOverrides:
        """What our plan does not decide."""
        if self.normalization is None:
            return PlanOverrides()
        return PlanOverrides(normalizations=(self.normalization,))

    @property
    def unseen(self) -> list[Case]:
        return self.cases(self.split.unseen)

    def predicted(self, contender: str, how: str) -> Path:
        return self.folder / contender / "predicted" / how

    def result(self, contender: str) -> Path:
        return self.folder / contender / "result.json"


def kept_settings(folder: Path) -> dict[str, Any] | None:
    """Settings of the results in a contest's folder; None where there are none."""
    path = folder / SETTINGS
    return read_json(path) if path.is_file() else None


def predict_unseen(
    contest: Contest, contender: str, model: Model, ways: Sequence[str] = WAYS
) -> dict[str, Any]:
    """Predict the unseen cases file to file, plainly and mirrored; time both."""
    found = {}
    for how in ways:
        mirror = how == "mirrored"
        folder = contest.predicted(contender, how)
        folder.mkdir(parents=True, exist_ok=True)
        options = PredictionOptions(mirror=mirror, device="cpu")
        began = time.monotonic()
        for case in contest.unseen:
            outputs = OutputPaths(labels=folder / f"{case.name}.nii.gz")
            job = predict_file(case.images[0], outputs, model, options, overwrite=True)
            precision = run(job).precision
        seconds = time.monotonic() - began
        axes = model.card.training["mirror_axes"] if mirror else ()
        found[how] = {
            "seconds_per_case": seconds / len(contest.unseen),
            "passes": 2 ** len(axes),
            "predicted_in": precision,
        }
    return found


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
            CaseScores(
                case=case.name,
                group=contest.split.groups.get(case.name, case.name),
                predicted="",
                reference="",
                classes=classes,
            )
        )
    return Report(cases=tuple(scores), label_names=names, tolerance_mm=TOLERANCE_MM)


def written(folder: Path) -> Callable[[Case], NDArray[np.integer[Any]]]:
    """Labels of a case as a contender wrote them into a folder."""
    return lambda case: np.asarray(open_labels(folder / f"{case.name}.nii.gz").data[0])


def figures_of(report: Report) -> list[str]:
    """Every figure of a report for a row of a table."""
    return [
        mean_and_interval(report.case_means(figure), digits, report.groups)
        for figure, (_, digits) in FIGURES.items()
    ]


def mean_and_interval(
    values: Sequence[float], digits: int, groups: Sequence[str] | None = None
) -> str:
    """Mean over the cases with its 95 % interval, in words for a table."""
    mean = sum(values) / len(values)
    found = bootstrap_interval(values, groups)
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
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def in_one_line(main: Callable[[], None]) -> None:
    """Run a program; what a user can mend ends it with one line."""
    try:
        main()
    except E2MISegError as error:
        sys.exit(str(error))
