"""How well two masks agree: overlap, and distance of their surfaces in mm.

Rule for empty masks: two empty masks agree (Dice 1, HD95 0, NSD 1). Where only one is
empty nothing agrees (Dice 0, NSD 0), and HD95, which has no value there, is set to the
diagonal of the image, the longest distance that the image can hold.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError, GeometryError

if TYPE_CHECKING:
    import torch

__all__ = ["dice", "hd95", "image_diagonal", "nsd"]

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


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
    Computed by MONAI. Some programs take the percentile of both directions together,
    which is never larger.

    References
    ----------
    .. [1] A. A. Taha and A. Hanbury, "Metrics for evaluating 3D medical image
       segmentation", BMC Medical Imaging 15 (2015), section on distance metrics.
    """
    _check(predicted, reference)
    _check_spacing(spacing)
    empty = _empties(predicted, reference)
    if any(empty):
        return 0.0 if all(empty) else image_diagonal(reference.shape, spacing)
    from monai.metrics import compute_hausdorff_distance

    with warnings.catch_warnings():
        _ignore_monai_deprecation()
        distance = compute_hausdorff_distance(
            *_cropped(predicted, reference),
            include_background=True,
            percentile=95,
            spacing=list(spacing),
        )
    return float(distance)


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

    Notes
    -----
    Computed by MONAI.

    References
    ----------
    .. [1] S. Nikolov et al., "Clinically applicable segmentation of head and neck
       anatomy for radiotherapy", Journal of Medical Internet Research 23 (2021),
       section "Surface Dice similarity coefficient".
    """
    _check(predicted, reference)
    _check_spacing(spacing)
    check_tolerance(tolerance_mm)
    empty = _empties(predicted, reference)
    if any(empty):
        return 1.0 if all(empty) else 0.0
    from monai.metrics import compute_surface_dice

    with warnings.catch_warnings():
        _ignore_monai_deprecation()
        share = compute_surface_dice(
            *_cropped(predicted, reference),
            class_thresholds=[tolerance_mm],
            include_background=True,
            spacing=list(spacing),
            use_subvoxels=True,
        )
    return float(share)


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


def _empties(predicted: Mask, reference: Mask) -> tuple[bool, bool]:
    return not predicted.any(), not reference.any()


def _cropped(predicted: Mask, reference: Mask) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Both masks in the smallest box that holds them, each (1, 1, z, y, x).

    MONAI makes floats of all it is given, which a whole volume may not allow; beyond
    the box it assumes background, as it does beyond the image.
    """
    import torch

    either = predicted | reference
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(either.any(axis=others))
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    where = tuple(box)
    masks = (np.ascontiguousarray(mask[where]) for mask in (predicted, reference))
    first, second = (torch.from_numpy(mask)[None, None] for mask in masks)
    return first, second


def _ignore_monai_deprecation() -> None:
    # MONAI 1.6 calls its own function with an argument that it has deprecated.
    warnings.filterwarnings(
        "ignore", message=".*always_return_as_numpy", category=FutureWarning
    )
