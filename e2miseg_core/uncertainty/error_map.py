"""The expected-error map: the calibrated chance that a voxel's label is wrong."""

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.uncertainty.calibration import SMALLEST, Calibration

__all__ = [
    "entropy",
    "expected_error",
    "from_uint8",
    "to_uint8",
]


def expected_error(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.integer],
    calibration: Calibration,
) -> NDArray[np.float32]:
    """Chance that the delivered label h is wrong, e = 1 - q_h.

    Parameters
    ----------
    probabilities : ndarray, shape (C, Z, Y, X)
    labels : ndarray of int, shape (Z, Y, X)
        Class index of each voxel as delivered.
    calibration : Calibration
        Fitted on cases that the network was not trained on.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        In [0, 1]; its sum over a region is the expected number of wrong voxels, as
        far as the calibration holds. Rounding to bytes (`to_uint8`) loses what lies
        below 1/510, which is most of a volume and adds up.
    """
    calibrated = calibration.apply(probabilities)
    chosen = np.take_along_axis(calibrated, labels[None].astype(np.intp), axis=0)
    error: NDArray[np.float32] = np.clip(1.0 - chosen[0], 0.0, 1.0)
    return error


def entropy(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Entropy of the class probabilities, in nats: the usual map, to compare with.

    Parameters
    ----------
    probabilities : ndarray, shape (C, Z, Y, X)

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        0 where one class is certain, log(C) where all are equal.
    """
    p = np.maximum(probabilities.astype(np.float32), SMALLEST)
    total: NDArray[np.float32] = -(p * np.log(p)).sum(axis=0)
    return total


def to_uint8(error: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0 to 1 as 0 to 255, rounded."""
    return np.rint(error * 255).astype(np.uint8)


def from_uint8(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Undo `to_uint8`, to half a step of 1/255."""
    return stored.astype(np.float32) / np.float32(255)
