"""Comparing the labels of one image with a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.evaluation.calibration import reliability
from e2miseg_core.evaluation.lesions import LesionRule, lesion_scores
from e2miseg_core.evaluation.metrics import dice
from e2miseg_core.evaluation.probabilities import ProbabilityMap
from e2miseg_core.evaluation.scores import ClassScores
from e2miseg_core.evaluation.structures import LabelKey, Structure, named_structures
from e2miseg_core.evaluation.surface import Spacing
from e2miseg_core.evaluation.surface_scores import check_tolerance, surface_scores

__all__ = ["evaluate_case"]


def evaluate_case(
    predicted_labels: NDArray[Any],
    reference_labels: NDArray[Any],
    spacing: Spacing,
    label_names: Mapping[int, str] | Sequence[Structure],
    *,
    tolerance_mm: float | Sequence[float] = 1.0,
    lesion_rule: LesionRule | None = None,
    probabilities: ProbabilityMap | None = None,
) -> dict[LabelKey, ClassScores]:
    """Compare labels of one image, structure by structure.

    Parameters
    ----------
    predicted_labels, reference_labels : integer array, shape (Z, Y, X)
    spacing : tuple of float
        ZYX in mm.
    label_names : mapping of int to str, or sequence of Structure
        The classes to compare; 0, the background, is left out.
    tolerance_mm : float, or sequence of float
        Of the normalised surface Dice; the first one's is `nsd`.
    lesion_rule : LesionRule, optional
    probabilities : ProbabilityMap, optional
        On the same grid, for the calibration.

    Returns
    -------
    dict of int or str to ClassScores
        By label value, in rising order, or by the values of a region.

    Raises
    ------
    GeometryError
        If the shapes differ, or the spacing is not positive.
    ConfigError
        If the tolerance is negative, or a structure has no probabilities.
    """
    if isinstance(label_names, Mapping):
        label_names = named_structures(label_names)
    tolerances = (
        tuple(tolerance_mm) if isinstance(tolerance_mm, Sequence) else (tolerance_mm,)
    )
    for tolerance in tolerances:
        check_tolerance(tolerance)
    scores: dict[LabelKey, ClassScores] = {}
    for structure in label_names:
        pair = structure.mask(predicted_labels), structure.mask(reference_labels)
        judged = _score(*pair, spacing, tolerances, lesion_rule or LesionRule())
        if not structure.values:  # numbers count objects, which may touch
            numbered = predicted_labels, reference_labels
            objects = lesion_scores(*numbered, spacing, lesion_rule or LesionRule())
            judged = replace(judged, lesions=objects)
        if probabilities is not None:
            found = reliability(probabilities, structure, *pair, spacing)
            judged = replace(judged, reliability=found)
        scores[structure.key] = judged
    return scores


def _score(
    predicted: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Spacing,
    tolerances_mm: tuple[float, ...],
    lesion_rule: LesionRule,
) -> ClassScores:
    voxel_ml = float(np.prod(spacing)) / 1000.0
    surface = surface_scores(predicted, reference, spacing, tolerances_mm)
    return ClassScores(
        dice=dice(predicted, reference),
        hd95_mm=surface.hd95_mm,
        nsd=surface.nsd[0],
        predicted_ml=int(np.count_nonzero(predicted)) * voxel_ml,
        reference_ml=int(np.count_nonzero(reference)) * voxel_ml,
        predicted_empty=not predicted.any(),
        reference_empty=not reference.any(),
        hd_mm=surface.hd_mm,
        assd_mm=surface.assd_mm,
        lesions=lesion_scores(predicted, reference, spacing, lesion_rule),
        nsd_at=dict(zip(tolerances_mm, surface.nsd, strict=True)),
    )
