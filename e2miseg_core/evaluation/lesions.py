"""Lesion by lesion: which connected pieces of the reference were found.

Two rules. By default a lesion of the reference is found if at least one voxel of it is
predicted, and a predicted piece that touches no lesion is a false positive: the rule of
the ISLES 2022 challenge [1]_. With a smallest IoU above 0, pieces are instead matched
one to one, pairs of the largest IoU first, as for panoptic quality [2]_; above 0.5 such
a match is unique. "Metrics Reloaded" [3]_ says which rule suits which question.

References
----------
.. [1] M. R. Hernandez Petzsche et al., "ISLES 2022: A multi-center magnetic resonance
   imaging stroke lesion segmentation dataset", Scientific Data 9 (2022).
.. [2] A. Kirillov et al., "Panoptic segmentation", CVPR (2019), section 4.1.
.. [3] L. Maier-Hein, A. Reinke et al., "Metrics reloaded: recommendations for image
   analysis validation", Nature Methods 21 (2024).
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError
from e2miseg_core.evaluation.matching import (
    CONNECTIVITY,
    find_pieces,
    match_pieces,
    shared_voxels,
)
from e2miseg_core.evaluation.surface import Spacing, crop_to_either

__all__ = [
    "Lesion",
    "LesionRule",
    "LesionScores",
    "lesion_scores",
    "pooled_lesions",
    "size_strata",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionRule:
    """What a lesion is, and when it is found.

    Attributes
    ----------
    connectivity : int
        6, 18 or 26 neighbours make one piece.
    min_iou : float
        0: any shared voxel counts. Above 0: one-to-one matches of at least this
        intersection over union.
    min_ml : float
        Smaller pieces count neither as lesions nor as false positives. A predicted
        piece that touches only such lesions counts as neither too.
    """

    connectivity: int = 26
    min_iou: float = 0.0
    min_ml: float = 0.0

    def __post_init__(self) -> None:
        """Check the rule."""
        if self.connectivity not in CONNECTIVITY:
            raise ConfigError(
                found=f"a connectivity of {self.connectivity}",
                needed="6, 18 or 26 neighbours",
                do="take 26 unless you know why not",
            )
        if not (0 <= self.min_iou <= 1 and 0 <= self.min_ml < float("inf")):
            raise ConfigError(
                found=f"a smallest IoU of {self.min_iou}, lesions of {self.min_ml} ml",
                needed="an IoU from 0 to 1, and 0 ml or more",
                do="choose others",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One lesion of the reference.

    Attributes
    ----------
    volume_ml : float
    dice : float
        With the predicted piece that it is matched with; by the rule of any overlap,
        with all that touch it together. 0 if it was not found.
    found : bool
    """

    volume_ml: float
    dice: float
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionScores:
    """Lesions of one structure, of one case or of several together.

    Attributes
    ----------
    lesions : tuple of Lesion
        Of the reference.
    n_predicted, n_false_positive : int
        Predicted pieces, and those that match no lesion.
    """

    lesions: tuple[Lesion, ...]
    n_predicted: int
    n_false_positive: int

    @property
    def n_found(self) -> int:
        """Lesions of the reference that were found."""
        return sum(lesion.found for lesion in self.lesions)

    @property
    def sensitivity(self) -> float | None:
        """Share of the lesions that was found (recall); None without lesions."""
        return self.n_found / len(self.lesions) if self.lesions else None

    @property
    def precision(self) -> float | None:
        """Found lesions over found ones and false positives; None without either."""
        total = self.n_found + self.n_false_positive
        return self.n_found / total if total else None

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 if there is nothing to find and nothing found."""
        total = self.n_found + len(self.lesions) + self.n_false_positive
        return 2.0 * self.n_found / total if total else 1.0

    @property
    def panoptic_quality(self) -> float | None:
        """F1 times the mean IoU of the pairs; None where nothing was to be matched.

        That of Kirillov et al. where matches are one to one.
        """
        if not (self.lesions or self.n_predicted):
            return None
        # Of a pair, IoU = Dice / (2 - Dice).
        iou = [one.dice / (2.0 - one.dice) for one in self.lesions if one.found]
        return self.f1 * float(np.mean(iou)) if iou else 0.0

    @property
    def mean_dice(self) -> float | None:
        """Mean Dice over the lesions of the reference, 0 for those not found."""
        if not self.lesions:
            return None
        return float(np.mean([lesion.dice for lesion in self.lesions]))

    def between(self, low_ml: float, high_ml: float) -> tuple[int, int]:
        """Lesions of a volume in [low, high), and how many of them were found."""
        chosen = [one for one in self.lesions if low_ml <= one.volume_ml < high_ml]
        return len(chosen), sum(one.found for one in chosen)

    def to_json(self) -> dict[str, Any]:
        """Counts and shares as JSON values."""
        return {
            "n_reference": len(self.lesions),
            "n_predicted": self.n_predicted,
            "n_found": self.n_found,
            "n_false_positive": self.n_false_positive,
            "sensitivity": self.sensitivity,
            "precision": self.precision,
            "f1": self.f1,
            "mean_dice": self.mean_dice,
            "panoptic_quality": self.panoptic_quality,
        }


def lesion_scores(
    predicted: NDArray[Any],
    reference: NDArray[Any],
    spacing: Spacing,
    rule: LesionRule,
) -> LesionScores:
    """Match the connected pieces of two masks, or the objects of two label maps.

    Parameters
    ----------
    predicted, reference : bool or integer array, shape (Z, Y, X)
        Of integers, voxels of one number above 0 are one object, connected or not; the
        numbers of both need not correspond.
    spacing : tuple of float
        ZYX in mm.
    rule : LesionRule

    Returns
    -------
    LesionScores
    """
    voxel_ml = float(np.prod(spacing)) / 1000.0
    cropped = crop_to_either(predicted, reference)
    (first, first_sizes), (second, second_sizes) = (
        find_pieces(mask, rule.connectivity) for mask in cropped
    )
    sizes = first_sizes, second_sizes
    # A lesion just as large as the limit counts, whatever the rounding.
    least = rule.min_ml * (1 - 1e-9)
    large = [size * voxel_ml >= least for size in sizes]
    shared = shared_voxels(first, second, second_sizes.size)
    scores, right = match_pieces(shared, sizes, large[1], rule.min_iou)
    return LesionScores(
        lesions=tuple(
            Lesion(
                volume_ml=float(second_sizes[i] * voxel_ml),
                dice=float(scores[i]),
                found=bool(scores[i] > 0),
            )
            for i in np.flatnonzero(large[1])
        ),
        n_predicted=int(np.count_nonzero(large[0])),
        n_false_positive=int(np.count_nonzero(large[0] & ~right)),
    )


def pooled_lesions(parts: Iterable[LesionScores]) -> LesionScores:
    """Lesions of several cases together."""
    parts = list(parts)
    return LesionScores(
        lesions=tuple(lesion for part in parts for lesion in part.lesions),
        n_predicted=sum(part.n_predicted for part in parts),
        n_false_positive=sum(part.n_false_positive for part in parts),
    )


def size_strata(
    scores: LesionScores, bounds_ml: Sequence[float]
) -> list[dict[str, Any]]:
    """Found lesions by volume: below the first bound, between, above the last."""
    edges = [0.0, *bounds_ml, float("inf")]
    rows = []
    for low, high in itertools.pairwise(edges):
        total, found = scores.between(low, high)
        rows.append(
            {
                "from_ml": low,
                "to_ml": None if high == float("inf") else high,
                "n_reference": total,
                "n_found": found,
                "sensitivity": found / total if total else None,
            }
        )
    return rows
