"""Scores of labels against a reference: of a structure in a case, and over cases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from e2miseg_core.evaluation.agreement import Agreement, bland_altman
from e2miseg_core.evaluation.calibration import Reliability
from e2miseg_core.evaluation.intervals import Interval, bootstrap_interval
from e2miseg_core.evaluation.lesions import LesionScores, pooled_lesions
from e2miseg_core.evaluation.structures import LabelKey

__all__ = [
    "BOTH_EMPTY",
    "FIGURES",
    "CaseScores",
    "ClassMean",
    "ClassScores",
    "Problem",
    "mean_over",
]

# Figures that a case has of a structure, that are averaged, and get an interval.
FIGURES = ("dice", "nsd", "hd95_mm", "assd_mm", "hd_mm")
# What they are where a structure is empty on both sides.
BOTH_EMPTY = dict(zip(FIGURES, (1.0, 1.0, 0.0, 0.0, 0.0), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """Scores of one structure in one case.

    Attributes
    ----------
    dice, nsd : float
        From 0 to 1.
    hd95_mm, assd_mm, hd_mm : float
        In mm.
    predicted_ml, reference_ml : float
        Volumes in millilitres.
    predicted_empty, reference_empty : bool
        Where exactly one is true, the distances are the diagonal of the image.
    nsd_at : mapping of float to float
        NSD by tolerance in mm.
    lesions : LesionScores
        Connected piece by piece.
    reliability : Reliability or None
        Only where probabilities were given.
    """

    dice: float
    hd95_mm: float
    nsd: float
    predicted_ml: float
    reference_ml: float
    predicted_empty: bool
    reference_empty: bool
    hd_mm: float
    assd_mm: float
    lesions: LesionScores
    nsd_at: Mapping[float, float] = field(default_factory=dict)
    reliability: Reliability | None = None

    @property
    def occurs(self) -> bool:
        """Whether it is in the prediction or in the reference."""
        return not (self.predicted_empty and self.reference_empty)

    @property
    def volume_error_ml(self) -> float:
        """Predicted minus reference volume."""
        return self.predicted_ml - self.reference_ml

    @property
    def relative_volume_error(self) -> float | None:
        """The same over the reference's volume; None if that is empty."""
        if self.reference_empty:
            return None
        return self.volume_error_ml / self.reference_ml

    def figures(self) -> dict[str, Any]:
        """The scores by name, without those of lesions and calibration."""
        return {
            "dice": self.dice,
            "hd95_mm": self.hd95_mm,
            "nsd": self.nsd,
            "predicted_ml": self.predicted_ml,
            "reference_ml": self.reference_ml,
            "predicted_empty": self.predicted_empty,
            "reference_empty": self.reference_empty,
            "hd_mm": self.hd_mm,
            "assd_mm": self.assd_mm,
            "volume_error_ml": self.volume_error_ml,
            "absolute_volume_error_ml": abs(self.volume_error_ml),
            "relative_volume_error": self.relative_volume_error,
        }

    def to_json(self) -> dict[str, Any]:
        """All scores as JSON values."""
        values = self.figures()
        values["nsd_at"] = {f"{mm:g}": share for mm, share in self.nsd_at.items()}
        values["lesions"] = self.lesions.to_json() | {
            "each": [
                {"volume_ml": one.volume_ml, "dice": one.dice, "found": one.found}
                for one in self.lesions.lesions
            ]
        }
        if self.reliability is not None:
            values["calibration"] = self.reliability.to_json()
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScores:
    """Scores of one case.

    Attributes
    ----------
    case : str
    predicted, reference : str
        Paths.
    classes : dict of int or str to ClassScores
        By label value, or by the values of a region ("1+2+3").
    group : str
        Whose case it is, such as a patient's; the case's own name without groups.
    """

    case: str
    predicted: str
    reference: str
    classes: Mapping[LabelKey, ClassScores]
    group: str = ""

    def mean(self, figure: str, keys: Iterable[LabelKey] | None = None) -> float:
        """Mean of a figure over these structures, or all; NaN without any."""
        keys = self.classes if keys is None else keys
        return mean([getattr(self.classes[key], figure) for key in keys])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMean:
    """Means of one structure over the cases.

    Attributes
    ----------
    dice, hd95_mm, nsd, predicted_ml, reference_ml, hd_mm, assd_mm : float
        Means over all cases, those where a mask is empty included.
    relative_volume_error : float or None
        Mean over the cases whose reference is not empty.
    n_cases, n_one_empty : int
        Cases, and those where exactly one mask is empty.
    intervals : dict of str to Interval or None
        95 % of each mean of `FIGURES`; None with a single case or group.
    agreement : Agreement
        Of the volumes.
    lesions : LesionScores
        Of all cases together.
    lesion_f1 : float
        Mean over the cases.
    nsd_at : dict of float to float
        Mean NSD by tolerance.
    reliability : Reliability or None
        Of the voxels of all cases together.
    """

    dice: float
    hd95_mm: float
    nsd: float
    predicted_ml: float
    reference_ml: float
    hd_mm: float
    assd_mm: float
    relative_volume_error: float | None
    n_cases: int
    n_one_empty: int
    intervals: dict[str, Interval | None]
    agreement: Agreement
    lesions: LesionScores
    lesion_f1: float
    nsd_at: dict[float, float]
    reliability: Reliability | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in (*FIGURES, "predicted_ml", "reference_ml")
        }
        values |= {"n_cases": self.n_cases, "n_one_empty": self.n_one_empty}
        values["relative_volume_error"] = self.relative_volume_error
        values["intervals"] = {
            name: interval.to_json() if interval else None
            for name, interval in self.intervals.items()
        }
        values["volume_agreement"] = self.agreement.to_json()
        values["nsd_at"] = {f"{mm:g}": share for mm, share in self.nsd_at.items()}
        values["lesions"] = self.lesions.to_json() | {
            "mean_f1": self.lesion_f1,
            "false_positives_per_case": self.lesions.n_false_positive / self.n_cases,
        }
        if self.reliability is not None:
            values["calibration"] = self.reliability.to_json()
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A case that could not be compared, and why, in one line."""

    case: str
    message: str


def mean_over(scores: Sequence[ClassScores], groups: Sequence[str]) -> ClassMean:
    """Bring one structure's scores in several cases together, at least one."""
    known = [
        one.relative_volume_error
        for one in scores
        if one.relative_volume_error is not None
    ]
    values = {name: [getattr(one, name) for one in scores] for name in FIGURES}
    predicted = [one.predicted_ml for one in scores]
    reference = [one.reference_ml for one in scores]
    parts = [one.reliability for one in scores if one.reliability is not None]
    return ClassMean(
        **{name: mean(numbers) for name, numbers in values.items()},
        predicted_ml=mean(predicted),
        reference_ml=mean(reference),
        relative_volume_error=mean(known) if known else None,
        n_cases=len(scores),
        n_one_empty=sum(one.predicted_empty != one.reference_empty for one in scores),
        intervals={
            name: bootstrap_interval(numbers, groups)
            for name, numbers in values.items()
        },
        agreement=bland_altman(predicted, reference),
        lesions=pooled_lesions(one.lesions for one in scores),
        lesion_f1=mean([one.lesions.f1 for one in scores]),
        nsd_at={
            mm: mean([one.nsd_at[mm] for one in scores]) for mm in scores[0].nsd_at
        },
        reliability=sum(parts[1:], start=parts[0]) if parts else None,
    )


def mean(values: Sequence[float]) -> float:
    """Mean; NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")
