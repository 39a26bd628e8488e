"""Every score of the distance between two surfaces, in one pass.

The rule for empty masks is that of `metrics`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError, GeometryError
from e2miseg_core.evaluation.surface import (
    Distances,
    Mask,
    Spacing,
    crop_to_either,
    surface_areas,
    surface_distances,
)

__all__ = [
    "SurfaceScores",
    "check_masks",
    "check_tolerance",
    "image_diagonal",
    "surface_scores",
]

# A distance equal to the tolerance agrees, whatever the rounding: as a share of the
# tolerance and of the finest voxel side.
_SLACK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceScores:
    """How far two surfaces are from each other.

    Attributes
    ----------
    hd_mm, hd95_mm, assd_mm : float
        Hausdorff distance, its 95th percentile, average symmetric surface distance.
    nsd : tuple of float
        Normalised surface Dice, one a tolerance.
    """

    hd_mm: float
    hd95_mm: float
    assd_mm: float
    nsd: tuple[float, ...]


def surface_scores(
    predicted: Mask, reference: Mask, spacing: Spacing, tolerances_mm: Sequence[float]
) -> SurfaceScores:
    """Every score of the surfaces, in one pass.

    Parameters and errors are those of `metrics.hd95` and `metrics.nsd`.
    """
    check_masks(predicted, reference)
    _check_spacing(spacing)
    for tolerance_mm in tolerances_mm:
        check_tolerance(tolerance_mm)
    empty = not predicted.any(), not reference.any()
    if any(empty):
        far = 0.0 if all(empty) else image_diagonal(reference.shape, spacing)
        share = 1.0 if all(empty) else 0.0
        return SurfaceScores(
            hd_mm=far, hd95_mm=far, assd_mm=far, nsd=(share,) * len(tolerances_mm)
        )
    pair = crop_to_either(predicted, reference)
    distances = surface_distances(*pair, spacing)
    return SurfaceScores(
        hd_mm=_larger(distances, 100.0),
        hd95_mm=_larger(distances, 95.0),
        assd_mm=float(
            np.concatenate([distances.predicted, distances.reference]).mean()
        ),
        nsd=_shares(*pair, spacing, tolerances_mm) if tolerances_mm else (),
    )


def image_diagonal(shape: tuple[int, ...], spacing: Spacing) -> float:
    """Length in mm of the diagonal of an image, from corner to corner of its voxels."""
    return float(np.linalg.norm(np.asarray(shape) * np.asarray(spacing)))


def check_tolerance(tolerance_mm: float) -> None:
    """Raise ConfigError unless the tolerance is a distance."""
    if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0.0):
        raise ConfigError(
            found=f"a tolerance of {tolerance_mm} mm",
            needed="0 mm or more",
            do="choose what a second reader would differ by, for example 1 mm",
        )


def check_masks(predicted: Mask, reference: Mask) -> None:
    """Raise GeometryError unless both are volumes of one shape."""
    if predicted.shape != reference.shape or predicted.ndim != 3:
        raise GeometryError(
            found=f"masks of shape {predicted.shape} and {reference.shape}",
            needed="the same shape (Z, Y, X)",
            do="compare masks of one image",
        )


def _larger(distances: Distances, percentile: float) -> float:
    """Return the larger of the percentiles of both directions."""
    directed = (distances.predicted, distances.reference)
    return max(float(np.percentile(one, percentile)) for one in directed)


def _shares(
    predicted: Mask, reference: Mask, spacing: Spacing, tolerances_mm: Sequence[float]
) -> tuple[float, ...]:
    distances, areas = surface_areas(predicted, reference, spacing)
    whole = float(areas[0].sum() + areas[1].sum())
    limits = [t + _SLACK * (t + min(spacing)) for t in tolerances_mm]
    return tuple(
        (
            _area_within(distances.predicted, areas[0], limit)
            + _area_within(distances.reference, areas[1], limit)
        )
        / whole
        for limit in limits
    )


def _area_within(
    distances: NDArray[np.float64], areas: NDArray[np.float64], limit: float
) -> float:
    return float(areas[distances <= limit].sum())


def _check_spacing(spacing: Spacing) -> None:
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise GeometryError(
            found=f"spacing {tuple(spacing)}",
            needed="three positive distances (Z, Y, X) in mm",
            do="take the spacing of the image",
        )
