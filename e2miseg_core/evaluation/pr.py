"""How well a map of expected errors finds the errors."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError, GeometryError

__all__ = ["average_precision", "average_precision_of_parts"]

Part = tuple[NDArray[Any], NDArray[np.bool_]]


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

    References
    ----------
    .. [1] K. Boyd, K. H. Eng and C. D. Page, "Area under the precision-recall curve:
       point estimates and confidence intervals", ECML PKDD (2013), "average precision".
    """
    return average_precision_of_parts(lambda: [(scores, errors)])


def average_precision_of_parts(parts: Callable[[], Iterable[Part]]) -> float:
    """`average_precision` of a volume that is read part by part, twice.

    Parameters
    ----------
    parts : callable
        Gives pairs of scores and errors, the same whenever it is called.

    Notes
    -----
    Precision changes the sum only at scores that some error has. These are kept, 4 to
    8 bytes an error; what lies above them is counted in each part's sorted scores.
    """
    kept = [_of_errors(*part) for part in parts()]
    found = np.sort(np.concatenate(kept)) if kept else np.empty(0)
    if found.size == 0:
        return float("nan")
    thresholds, hits = np.unique(found, return_counts=True)
    looked_at = np.zeros(thresholds.size, np.int64)
    for scores, _ in parts():
        everything = np.sort(scores, axis=None)
        below = np.searchsorted(everything, thresholds, side="left")
        looked_at += everything.size - below
    true = found.size - np.searchsorted(found, thresholds, side="left")
    return float(np.sum(hits * (true / looked_at)) / found.size)


def _of_errors(scores: NDArray[Any], errors: NDArray[np.bool_]) -> NDArray[Any]:
    """Scores of the errors of a part, after a check."""
    if scores.shape != errors.shape:
        raise GeometryError(
            found=f"scores of shape {scores.shape}, errors of shape {errors.shape}",
            needed="one score a voxel",
            do="compare maps of one image",
        )
    if np.isnan(np.max(scores, initial=0)):
        raise ConfigError(
            found="a score that is not a number",
            needed="a number for each voxel",
            do="check the map",
        )
    chosen: NDArray[Any] = scores[np.asarray(errors, dtype=bool)]
    return chosen
