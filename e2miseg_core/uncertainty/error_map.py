"""The expected-error map: the calibrated chance that a voxel's label is wrong."""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "entropy",
    "expected_error",
    "from_uint8",
    "scaled_probabilities",
    "to_uint8",
]

SMALLEST = 1e-12  # keeps the logarithm of a probability finite


def scaled_probabilities(
    probabilities: NDArray[np.float32], temperature: float
) -> NDArray[np.float32]:
    """Temperature scaling of probabilities, q = softmax(log p / T) [1]_.

    Parameters
    ----------
    probabilities : ndarray, shape (C, ...)
        Over C they sum to 1.
    temperature : float
        Above 1 the result is less certain, below 1 more.

    Returns
    -------
    ndarray of float32, shape (C, ...)

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern
       Neural Networks", ICML 2017, section 4.2.
    """
    if temperature == 1:
        return probabilities
    powered = np.maximum(probabilities, SMALLEST) ** np.float32(1 / temperature)
    powered /= powered.sum(axis=0)
    return powered


def expected_error(
    probabilities: NDArray[np.float32], labels: NDArray[np.integer], temperature: float
) -> NDArray[np.float32]:
    """Chance that the delivered label h is wrong, e = 1 - q_h.

    Parameters
    ----------
    probabilities : ndarray, shape (C, Z, Y, X)
    labels : ndarray of int, shape (Z, Y, X)
        Class index of each voxel as delivered.
    temperature : float
        Fitted on cases that the network was not trained on.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        In [0, 1]; its sum over a region is the expected number of wrong voxels, as
        far as the calibration holds. Rounding to bytes (`to_uint8`) loses what lies
        below 1/510, which is most of a volume and adds up.
    """
    calibrated = scaled_probabilities(probabilities, temperature)
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
