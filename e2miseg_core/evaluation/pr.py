"""How well a map of expected errors finds the errors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError, GeometryError

__all__ = ["average_precision"]


def average_precision(scores: NDArray[Any], errors: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve, in steps, without interpolation [1]_.

    Voxels are looked at from the highest score down; those of equal score come
    together. Chance reaches the share of voxels that are errors.

    Parameters
    ----------
    scores : array of any shape
        The higher, the sooner a voxel is looked at; integers or floats without NaN.
    errors : bool array of the same shape
        Where the prediction is wrong.

    Returns
    -------
    float
        From 0 to 1, NaN if there are no errors to be found.

    Raises
    ------
    GeometryError
        If the shapes differ.
    ConfigError
        If a score is not a number.

    Notes
    -----
    Needs a copy of the scores and no index: precision changes the sum only at scores
    that some error has, and what lies above those is counted in the sorted scores.

    References
    ----------
    .. [1] K. Boyd, K. H. Eng and C. D. Page, "Area under the precision-recall curve:
       point estimates and confidence intervals", ECML PKDD (2013), "average precision".
    """
    if scores.shape != errors.shape:
        raise GeometryError(
            found=f"scores of shape {scores.shape}, errors of shape {errors.shape}",
            needed="one score a voxel",
            do="compare maps of one image",
        )
    errors = np.asarray(errors, dtype=bool)
    found = np.sort(scores[errors], axis=None)
    if found.size == 0:
        return float("nan")
    everything = np.sort(scores, axis=None)
    if np.isnan(everything[-1]):  # NaN sorts last
        raise ConfigError(
            found="a score that is not a number",
            needed="a number for each voxel",
            do="check the map",
        )
    thresholds, hits = np.unique(found, return_counts=True)
    looked_at = everything.size - np.searchsorted(everything, thresholds, side="left")
    true = found.size - np.searchsorted(found, thresholds, side="left")
    return float(np.sum(hits * (true / looked_at)) / found.size)
