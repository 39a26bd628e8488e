"""Scores of labels against a reference: of a class, a case and a set of cases."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CaseScores", "ClassMean", "ClassScores", "Problem", "Report"]

_VERSION = 1
_EMPTY_RULE = (
    "Both empty: Dice 1, HD95 0, NSD 1. One empty: Dice 0, NSD 0, HD95 is the "
    "image's diagonal."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """Scores of one class in one case.

    Attributes
    ----------
    dice, nsd : float
        From 0 to 1.
    hd95_mm : float
        In mm.
    predicted_ml, reference_ml : float
        Volumes in millilitres.
    predicted_empty, reference_empty : bool
        Where exactly one is true, `hd95_mm` is the diagonal of the image.
    """

    dice: float
    hd95_mm: float
    nsd: float
    predicted_ml: float
    reference_ml: float
    predicted_empty: bool
    reference_empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScores:
    """Scores of one case.

    Attributes
    ----------
    case : str
    predicted, reference : str
        Paths.
    classes : dict of int to ClassScores
        By label value.
    """

    case: str
    predicted: str
    reference: str
    classes: dict[int, ClassScores]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMean:
    """Means of one class over the cases.

    Attributes
    ----------
    dice, hd95_mm, nsd, predicted_ml, reference_ml : float
        Means over all cases, those where a mask is empty included.
    n_cases, n_one_empty : int
        Cases, and those where exactly one mask is empty.
    """

    dice: float
    hd95_mm: float
    nsd: float
    predicted_ml: float
    reference_ml: float
    n_cases: int
    n_one_empty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A case that could not be compared, and why, in one line."""

    case: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Scores of a set of cases.

    Attributes
    ----------
    cases : tuple of CaseScores
        At least one, all with the same classes.
    label_names : dict of int to str
        By label value, background left out.
    tolerance_mm : float
        Of the normalised surface Dice.
    problems : tuple of Problem
        Cases left out of all means.
    """

    cases: tuple[CaseScores, ...]
    label_names: dict[int, str]
    tolerance_mm: float
    problems: tuple[Problem, ...] = ()

    @property
    def means(self) -> dict[int, ClassMean]:
        """Mean scores of each class over the cases, by label value."""
        return {value: self._mean(value) for value in self.label_names}

    @property
    def mean_dice(self) -> float:
        """Mean over the classes of the mean Dice; NaN without classes."""
        return _mean([mean.dice for mean in self.means.values()])

    @property
    def mean_hd95_mm(self) -> float:
        """Mean over the classes of the mean HD95 in mm; NaN without classes."""
        return _mean([mean.hd95_mm for mean in self.means.values()])

    @property
    def mean_nsd(self) -> float:
        """Mean over the classes of the mean NSD; NaN without classes."""
        return _mean([mean.nsd for mean in self.means.values()])

    @property
    def table(self) -> tuple[dict[str, Any], ...]:
        """A row for each case and class, with `case`, `label`, `name` and scores."""
        return tuple(
            {
                "case": case.case,
                "label": value,
                "name": self.label_names[value],
                **asdict(scores),
            }
            for case in self.cases
            for value, scores in case.classes.items()
        )

    def to_json(self) -> dict[str, Any]:
        """The whole report as JSON values; a score without a value is None."""
        means = self.means
        return {
            "version": _VERSION,
            "tolerance_mm": self.tolerance_mm,
            "empty_masks": _EMPTY_RULE,
            "labels": {str(value): name for value, name in self.label_names.items()},
            "mean": {
                "dice": _or_none(self.mean_dice),
                "hd95_mm": _or_none(self.mean_hd95_mm),
                "nsd": _or_none(self.mean_nsd),
                "n_cases": len(self.cases),
            },
            "classes": {
                self.label_names[value]: {"label": value, **asdict(mean)}
                for value, mean in means.items()
            },
            "cases": [
                {
                    "case": case.case,
                    "predicted": case.predicted,
                    "reference": case.reference,
                    "classes": {
                        self.label_names[value]: {"label": value, **asdict(scores)}
                        for value, scores in case.classes.items()
                    },
                }
                for case in self.cases
            ],
            "problems": [asdict(problem) for problem in self.problems],
        }

    def _mean(self, value: int) -> ClassMean:
        scores = [case.classes[value] for case in self.cases]
        return ClassMean(
            dice=_mean([one.dice for one in scores]),
            hd95_mm=_mean([one.hd95_mm for one in scores]),
            nsd=_mean([one.nsd for one in scores]),
            predicted_ml=_mean([one.predicted_ml for one in scores]),
            reference_ml=_mean([one.reference_ml for one in scores]),
            n_cases=len(scores),
            n_one_empty=sum(
                one.predicted_empty != one.reference_empty for one in scores
            ),
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
