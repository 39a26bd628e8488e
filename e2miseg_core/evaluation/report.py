"""A report: scores of a set of cases, their means, and how sure those are."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from e2miseg_core.evaluation.absence import that_occur
from e2miseg_core.evaluation.differences import case_differences
from e2miseg_core.evaluation.intervals import (
    DRAWS,
    Difference,
    Interval,
    bootstrap_interval,
)
from e2miseg_core.evaluation.lesions import LesionRule, size_strata
from e2miseg_core.evaluation.scores import (
    FIGURES,
    CaseScores,
    ClassMean,
    ClassScores,
    Problem,
    mean,
    mean_over,
)
from e2miseg_core.evaluation.structures import LabelKey

__all__ = ["STRATA_ML", "CaseScores", "ClassMean", "ClassScores", "Problem", "Report"]

_VERSION = 1
_EMPTY_RULE = (
    "Both empty: Dice 1, NSD 1, HD95 0, ASSD 0, HD 0. One empty: Dice 0, NSD 0; HD95, "
    "ASSD and HD are the image's diagonal."
)
_INTERVAL_RULE = (
    f"95 %, percentile bootstrap of {DRAWS} draws of whole groups (cases, if no groups "
    "were given), seed 0"
)
# Lesions are told by size: below, between and above these volumes.
STRATA_ML = (0.1, 1.0)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of a set of cases.

    Attributes
    ----------
    cases : tuple of CaseScores
        At least one, all with the same structures.
    label_names : mapping of int or str to str
        By label value, or values of a region ("1+2+3"); background left out.
    tolerance_mm : float
        Of the normalised surface Dice.
    problems : tuple of Problem
        Cases left out of all means.
    lesion_rule : LesionRule
    other_values : tuple of int
        Label values above 0 that were found and belong to no structure.
    every_value : bool
        The structures are all values above 0 that were found in any file.
    differences : mapping of int or str to mapping of str to Difference
        To another prediction of the same cases, by structure and figure; "" has the
        mean over the structures.
    compared_with : str
        That other prediction.
    """

    cases: tuple[CaseScores, ...]
    label_names: Mapping[LabelKey, str]
    tolerance_mm: float
    problems: tuple[Problem, ...] = ()
    lesion_rule: LesionRule = field(default_factory=LesionRule)
    other_values: tuple[int, ...] = ()
    every_value: bool = False
    differences: Mapping[LabelKey, Mapping[str, Difference]] = field(
        default_factory=dict
    )
    compared_with: str = ""

    @cached_property
    def means(self) -> dict[LabelKey, ClassMean]:
        """Mean scores of each structure over the cases, by label value."""
        return {
            key: mean_over([case.classes[key] for case in self.cases], self.groups)
            for key in self.label_names
        }

    @cached_property
    def counted(self) -> list[LabelKey]:
        """Structures that the means over structures are of, see `that_occur`."""
        return that_occur(self.cases, self.label_names)

    @property
    def absent(self) -> list[str]:
        """Names of the structures that count in no mean over structures."""
        return [n for key, n in self.label_names.items() if key not in self.counted]

    @property
    def groups(self) -> list[str]:
        """The group of each case."""
        return [case.group or case.case for case in self.cases]

    def mean(self, figure: str) -> float:
        """Mean over the counted structures of their mean figure; NaN without any."""
        return mean([getattr(self.means[key], figure) for key in self.counted])

    @property
    def mean_dice(self) -> float:
        """Mean over the counted structures of the mean Dice; NaN without."""
        return self.mean("dice")

    @property
    def mean_hd95_mm(self) -> float:
        """Mean over the counted structures of the mean HD95 in mm; NaN without."""
        return self.mean("hd95_mm")

    @property
    def mean_nsd(self) -> float:
        """Mean over the counted structures of the mean NSD; NaN without."""
        return self.mean("nsd")

    @property
    def mean_assd_mm(self) -> float:
        """Mean over the counted structures of the mean ASSD in mm; NaN without."""
        return self.mean("assd_mm")

    @property
    def mean_ece(self) -> float | None:
        """Mean over the structures that have probabilities; None if none has."""
        parts = [one.reliability for one in self.means.values()]
        known = [one.ece for one in parts if one is not None and one.ece is not None]
        return mean(known) if known else None

    @property
    def mean_lesion_f1(self) -> float:
        """Mean over the counted structures of the mean F1 of the cases' lesions."""
        return self.mean("lesion_f1")

    @property
    def in_pieces(self) -> bool:
        """Whether a structure comes in several pieces, so that lesions are of use."""
        return any(
            len(scores.lesions.lesions) > 1
            for case in self.cases
            for scores in case.classes.values()
        )

    def case_means(self, figure: str) -> list[float]:
        """Mean of a figure over the counted structures, of each case."""
        return [case.mean(figure, self.counted) for case in self.cases]

    @cached_property
    def mean_intervals(self) -> dict[str, Interval | None]:
        """95 % intervals of the means over the structures, by figure."""
        return {
            figure: bootstrap_interval(self.case_means(figure), self.groups)
            for figure in FIGURES
        }

    @property
    def table(self) -> tuple[dict[str, Any], ...]:
        """A row for each case and class, with `case`, `label`, `name` and scores."""
        return tuple(
            {
                "case": case.case,
                "label": key,
                "name": self.label_names[key],
                **scores.figures(),
            }
            for case in self.cases
            for key, scores in case.classes.items()
        )

    def compare(self, other: "Report") -> dict[LabelKey, dict[str, Difference]]:
        """Paired differences, this minus the other, over the cases that both have.

        As of `case_differences`. Where both judge every value, so do the differences:
        what one report lacks is empty there.
        """
        keys = list(self.label_names)
        if self.every_value and other.every_value:
            keys += [key for key in other.label_names if key not in keys]
        else:
            keys = [key for key in keys if key in other.label_names]
        return case_differences(self.cases, other.cases, keys)

    def name_of(self, key: LabelKey) -> str:
        """Name of a structure, also of one that only the other prediction has."""
        if key == "":
            return "all structures"
        return self.label_names.get(key, f"label {key}")

    def to_json(self) -> dict[str, Any]:
        """The whole report as JSON values; a score without a value is None."""
        told = {
            "version": _VERSION,
            "tolerance_mm": self.tolerance_mm,
            "empty_masks": _EMPTY_RULE,
            "labels": {str(key): name for key, name in self.label_names.items()},
            "mean": self._means_to_json(),
            "absent": self.absent,
            "classes": {
                self.label_names[key]: {
                    "label": key,
                    **one.to_json(),
                    "lesion_sizes": size_strata(one.lesions, STRATA_ML),
                }
                for key, one in self.means.items()
            },
            "cases": [self._case_to_json(case) for case in self.cases],
            "problems": [
                {"case": one.case, "message": one.message} for one in self.problems
            ],
            "intervals": _INTERVAL_RULE,
            "lesion_rule": {
                "connectivity": self.lesion_rule.connectivity,
                "min_iou": self.lesion_rule.min_iou,
                "min_ml": self.lesion_rule.min_ml,
            },
            "other_values": list(self.other_values),
        }
        if self.differences:
            told["comparison"] = self._comparison_to_json()
        return told

    def _means_to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            figure: _or_none(self.mean(figure)) for figure in FIGURES
        }
        values["n_cases"] = len(self.cases)
        values["n_groups"] = len(set(self.groups))
        values["ece"] = self.mean_ece
        values["intervals"] = {
            figure: interval.to_json() if interval else None
            for figure, interval in self.mean_intervals.items()
        }
        return values

    def _case_to_json(self, case: CaseScores) -> dict[str, Any]:
        return {
            "case": case.case,
            "predicted": case.predicted,
            "reference": case.reference,
            "group": case.group or case.case,
            "classes": {
                self.label_names[key]: {"label": key, **scores.to_json()}
                for key, scores in case.classes.items()
            },
        }

    def _comparison_to_json(self) -> dict[str, Any]:
        told = {
            key: {figure: one.to_json() for figure, one in figures.items()}
            for key, figures in self.differences.items()
        }
        mean = told.pop("", {})
        classes = {self.name_of(key): figures for key, figures in told.items()}
        return {"with": self.compared_with, "mean": mean, "classes": classes}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
