"""How well two masks agree: overlap, and distance of their surfaces in mm.

Rule for empty masks: two empty masks agree (Dice 1, NSD 1, distances 0). Where only one
is empty nothing agrees (Dice 0, NSD 0), and distances, which have no value there, are
set to the diagonal of the image, the longest that the image can hold.
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
    "assd",
    "dice",
    "hausdorff",
    "hd95",
    "image_diagonal",
    "nsd",
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

    Parameters and errors are those of `hd95` and `nsd`.
    """
    _check(predicted, reference)
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


def dice(predicted: Mask, reference: Mask) -> float:
    """Dice coefficient of two masks [1]_: twice the overlap over the sum of sizes.

    Parameters
    ----------
    predicted, reference : bool array, shape (Z, Y, X)

    Returns
    -------
    float
        From 0 to 1; 1 if both are empty.

    Raises
    ------
    GeometryError
        If the shapes differ, or the masks are not three-dimensional.

    References
    ----------
    .. [1] L. R. Dice, "Measures of the amount of ecologic association between
       species", Ecology 26 (1945).
    """
    _check(predicted, reference)
    sizes = int(np.count_nonzero(predicted)) + int(np.count_nonzero(reference))
    if sizes == 0:
        return 1.0
    return 2.0 * int(np.count_nonzero(predicted & reference)) / sizes


def hd95(predicted: Mask, reference: Mask, spacing: Spacing) -> float:
    """95th percentile of the Hausdorff distance, in mm [1]_.

    The larger of the two directed 95th percentiles (linearly interpolated) of the
    distances from each surface voxel of one mask to the nearest of the other. A surface
    voxel is one with a face neighbour outside the mask, or at the rim of the image.

    Parameters
    ----------
    predicted, reference : bool array, shape (Z, Y, X)
    spacing : tuple of float
        ZYX in mm; the axes are taken as perpendicular.

    Returns
    -------
    float
        In mm; 0 if both masks are empty, the image's diagonal if one is.

    Raises
    ------
    GeometryError
        If the shapes differ, the masks are not three-dimensional, or the spacing is
        not positive.

    Notes
    -----
    Some programs take the percentile of both directions together, which is never
    larger.

    References
    ----------
    .. [1] A. A. Taha and A. Hanbury, "Metrics for evaluating 3D medical image
       segmentation", BMC Medical Imaging 15 (2015), section on distance metrics.
    """
    return surface_scores(predicted, reference, spacing, ()).hd95_mm


def hausdorff(predicted: Mask, reference: Mask, spacing: Spacing) -> float:
    """Hausdorff distance in mm: the farthest that a surface voxel is from the other.

    Parameters, rules and reference are those of `hd95`. One wrong voxel decides it.
    """
    return surface_scores(predicted, reference, spacing, ()).hd_mm


def assd(predicted: Mask, reference: Mask, spacing: Spacing) -> float:
    """Average symmetric surface distance in mm [1]_.

    The mean of the distances of all surface voxels of both masks together. Parameters
    and rules are those of `hd95`.

    References
    ----------
    .. [1] T. Heimann et al., "Comparison and evaluation of methods for liver
       segmentation from CT datasets", IEEE Transactions on Medical Imaging 28 (2009),
       section II-D.
    """
    return surface_scores(predicted, reference, spacing, ()).assd_mm


def nsd(
    predicted: Mask, reference: Mask, spacing: Spacing, tolerance_mm: float
) -> float:
    """Normalised surface Dice: the share of both surfaces that agree [1]_.

    A piece of surface agrees if the other surface is at most `tolerance_mm` away. The
    surfaces run between the voxels, and their pieces count by their area in mm2.

    Parameters
    ----------
    predicted, reference : bool array, shape (Z, Y, X)
    spacing : tuple of float
        ZYX in mm; the axes are taken as perpendicular.
    tolerance_mm : float
        Not negative.

    Returns
    -------
    float
        From 0 to 1; 1 if both masks are empty, 0 if one is.

    Raises
    ------
    GeometryError
        If the shapes differ, the masks are not three-dimensional, or the spacing is
        not positive.
    ConfigError
        If the tolerance is negative or not finite.

    References
    ----------
    .. [1] S. Nikolov et al., "Clinically applicable segmentation of head and neck
       anatomy for radiotherapy", Journal of Medical Internet Research 23 (2021),
       section "Surface Dice similarity coefficient".
    """
    return surface_scores(predicted, reference, spacing, (tolerance_mm,)).nsd[0]


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


def _check(predicted: Mask, reference: Mask) -> None:
    if predicted.shape != reference.shape or predicted.ndim != 3:
        raise GeometryError(
            found=f"masks of shape {predicted.shape} and {reference.shape}",
            needed="the same shape (Z, Y, X)",
            do="compare masks of one image",
        )


def _check_spacing(spacing: Spacing) -> None:
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise GeometryError(
            found=f"spacing {tuple(spacing)}",
            needed="three positive distances (Z, Y, X) in mm",
            do="take the spacing of the image",
        )
