"""Fit the softmax temperature of the expected-error map."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from e2miseg_core.errors import DatasetError
from e2miseg_core.uncertainty.error_map import SMALLEST

__all__ = ["fit_temperature", "mean_nll"]

RANGE = (0.2, 10.0)  # temperatures tried
PRIOR = 0.001  # pull of log T towards 0, as in the experiments that chose this form


def mean_nll(
    log_probabilities: NDArray[np.float32],
    true_classes: NDArray[np.integer],
    temperature: float,
) -> float:
    """Mean negative log-likelihood of softmax(log p / T), in nats.

    Parameters
    ----------
    log_probabilities : ndarray, shape (C, N)
    true_classes : ndarray of int, shape (N,)
    temperature : float
    """
    scaled = log_probabilities / np.float32(temperature)
    largest = scaled.max(axis=0)
    log_total = np.log(np.exp(scaled - largest).sum(axis=0)) + largest
    chosen = np.take_along_axis(scaled, true_classes[None].astype(np.intp), axis=0)[0]
    return float((log_total - chosen).mean(dtype=np.float64))


def fit_temperature(
    cases: Sequence[tuple[NDArray[np.float32], NDArray[np.integer]]],
) -> float:
    """The temperature of least mean negative log-likelihood over all voxels.

    Parameters
    ----------
    cases : sequence of (probabilities (C, Z, Y, X), labels (Z, Y, X))
        Predictions with their true class indices, of cases not trained on.

    Returns
    -------
    float
        In [0.2, 10]; above 1 where the network is overconfident.

    Raises
    ------
    DatasetError
        If there is no case.
    """
    if not cases:
        raise DatasetError(
            found="no case to fit the calibration on",
            needed="at least one case outside the training set",
            do="add labelled cases",
        )
    logs = np.concatenate(
        [np.log(np.maximum(p, SMALLEST)).reshape(p.shape[0], -1) for p, _ in cases], 1
    )
    classes = np.concatenate([labels.reshape(-1) for _, labels in cases])

    def objective(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        return mean_nll(logs, classes, temperature) + PRIOR * log_temperature**2

    fit = minimize_scalar(
        objective,
        bounds=tuple(np.log(RANGE)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(fit.x))
