"""Class probabilities, one byte a class, kept only where there is doubt."""

import math

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.uncertainty.calibration import CERTAIN

__all__ = [
    "NONE",
    "SMALLEST_KEPT",
    "STEP",
    "decode_log_probabilities",
    "encode_log_probabilities",
]

STEP = 12 / 254  # nats a code
NONE = 255  # the code of p taken as 0
SMALLEST_KEPT = math.exp(-12)

_PROBABILITIES = np.exp(-STEP * np.arange(256)).astype(np.float32)
_PROBABILITIES[NONE] = 0


def encode_log_probabilities(
    probabilities: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Round -log p to codes of 12/254 nats, where the largest p is below 0.9999.

    Parameters
    ----------
    probabilities : ndarray, shape (C, ...), two classes or more
        Over C they sum to 1.

    Returns
    -------
    ndarray of uint8, shape (C, ...)
        Elsewhere the most probable class has code 0 and the others 255, which says
        that it is certain; certain background has code 0 in all channels, so that
        chunks of nothing else need not be stored.
    """
    chosen = probabilities.argmax(axis=0)
    codes = np.full(probabilities.shape, NONE, np.uint8)
    np.put_along_axis(codes, chosen[None], np.uint8(0), axis=0)
    codes[:, chosen == 0] = 0
    described = probabilities.max(axis=0) < CERTAIN
    kept = probabilities[:, described]  # (C, n)
    nats = -np.log(np.maximum(kept, SMALLEST_KEPT / 2))
    codes[:, described] = np.minimum(np.rint(nats / np.float32(STEP)), NONE)
    return codes


def decode_log_probabilities(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Undo `encode_log_probabilities`.

    Parameters
    ----------
    codes : ndarray of uint8, shape (C, ...)

    Returns
    -------
    ndarray of float32, shape (C, ...)
        Over C they sum to 1. Where a probability is described it is off by at most
        5 % of itself, or of 1e-5 if it was taken as 0; where one class is certain
        it is 1 and the others 0.
    """
    certain_background = ~codes.any(axis=0)
    found: NDArray[np.float32] = _PROBABILITIES[codes]
    found[1:, certain_background] = 0
    found /= found.sum(axis=0)
    return found
