"""How well two masks agree: overlap, and distance of their surfaces in mm.

Rule for empty masks: two empty masks agree (Dice 1, NSD 1, distances 0). Where only one
is empty nothing agrees (Dice 0, NSD 0), and distances, which have no value there, are
set to the diagonal of the image, the longest that the image can hold.
"""

import numpy as np

from e2miseg_core.evaluation.surface import Mask, Spacing
from e2miseg_core.evaluation.surface_scores import check_masks, surface_scores

__all__ = ["assd", "dice", "hausdorff", "hd95", "nsd"]


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
    check_masks(predicted, reference)
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
