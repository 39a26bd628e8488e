"""Calibration of class probabilities: one temperature, and a bias for each class."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from e2miseg_core.errors import DatasetError, ModelError

__all__ = [
    "CERTAIN",
    "MIN_CASES",
    "SMALLEST",
    "Calibration",
    "fit_calibration",
    "fit_temperature",
    "mean_nll",
]

SMALLEST = 1e-12  # keeps the logarithm of a probability finite
CERTAIN = 0.9999  # voxels whose largest p is at least this have no say in the bias
MIN_CASES = 3  # a bias fitted on fewer cases is noise
RANGE = (0.2, 10.0)  # temperatures tried
BIASES = (-10.0, 10.0)  # biases tried
PRIOR = 0.001  # pull of log T and b towards 0: whole cases hardly need one
# Pull of b towards 0 where T is held, divided by the number of cases: a few boxes of a
# few cases say less about a class than their number of voxels suggests.
BIAS_PRIOR = 0.3

LabelledVoxels = tuple[NDArray[np.float32], NDArray[np.integer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Vector scaling, q = softmax(log p / T + b) [1]_.

    Attributes
    ----------
    temperature : float
        T; above 1 the result is less certain, below 1 more.
    bias : tuple of float
        b of the classes 1, 2, ...; that of the background is 0. Empty: all are 0.

    Raises
    ------
    ModelError
        If a number is not finite, or the temperature not above 0.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern
       Neural Networks", ICML 2017, section 4.2.

    Notes
    -----
    With one T for all classes, where [1]_ gives each class its own.
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.temperature, *self.bias)
        if not all(map(math.isfinite, numbers)) or self.temperature <= 0:
            raise ModelError(
                found=f"a calibration by T = {self.temperature}, b = {self.bias}",
                needed="finite numbers, the temperature above 0",
                do="get the model file again from its source",
            )

    @classmethod
    def from_card(cls, stored: Mapping[str, Any]) -> Self:
        """Read the field `calibration` of a model card; what it lacks is neutral."""
        return cls(
            temperature=float(stored.get("temperature", 1.0)),
            bias=tuple(float(b) for b in stored.get("bias", ())),
        )

    def to_card(self) -> dict[str, Any]:
        """The fields of a model card's `calibration`."""
        return {"temperature": self.temperature, "bias": list(self.bias)}

    def apply(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrate probabilities.

        Parameters
        ----------
        probabilities : ndarray, shape (C, ...)
            Over C they sum to 1.

        Returns
        -------
        ndarray of float32, shape (C, ...)
            0 stays 0. The argument itself where there is nothing to change.

        Raises
        ------
        ModelError
            If there are biases, but not one for each class after the first.
        """
        if self.bias and len(self.bias) != probabilities.shape[0] - 1:
            raise ModelError(
                found=f"{len(self.bias)} biases for {probabilities.shape[0]} classes",
                needed="one for each class but the background",
                do="calibrate the model again",
            )
        if self.temperature == 1 and not any(self.bias):
            return probabilities
        powered = probabilities ** np.float32(1 / self.temperature)
        for index, bias in enumerate(self.bias, start=1):
            powered[index] *= np.float32(math.exp(bias))
        powered /= powered.sum(axis=0)
        return powered


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


def fit_temperature(cases: Sequence[LabelledVoxels]) -> float:
    """The temperature of least mean negative log-likelihood over all voxels.

    Parameters
    ----------
    cases : sequence of (probabilities (C, ...), labels (...))
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
    logs, classes = _pooled(cases)

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


def fit_calibration(
    cases: Sequence[LabelledVoxels],
    *,
    n_cases: int | None = None,
    temperature: float | None = None,
) -> Calibration:
    """The calibration of least mean negative log-likelihood over uncertain voxels.

    Voxels whose largest probability is `CERTAIN` or more are left out: a rule that
    does not look at the labels.

    Parameters
    ----------
    cases : sequence of (probabilities (C, ...), labels (...))
        Predictions with their true class indices, of cases not trained on.
    n_cases : int, optional
        Cases that these voxels come from, where it is not one each. With fewer than
        `MIN_CASES` the biases are held at 0 and T is fitted on all voxels.
    temperature : float, optional
        Held, and only the biases are fitted. For voxels of boxes that were chosen for
        their doubt: there the network errs more than it does at the same probability
        elsewhere, which would drive T up everywhere.

    Returns
    -------
    Calibration

    Raises
    ------
    DatasetError
        If there is no case.
    """
    n_cases = len(cases) if n_cases is None else n_cases
    if n_cases < MIN_CASES:
        return Calibration(temperature=temperature or fit_temperature(cases))
    logs, classes = _pooled(cases)
    uncertain = logs.max(axis=0) < math.log(CERTAIN)
    logs, classes = logs[:, uncertain], classes[uncertain]
    if classes.size == 0:
        return Calibration(temperature=temperature or 1.0)
    start, pull = np.zeros(logs.shape[0]), PRIOR
    bounds = [tuple(np.log(RANGE)), *[BIASES] * (logs.shape[0] - 1)]
    if temperature is not None:
        start[0], pull = math.log(temperature), BIAS_PRIOR / n_cases
        bounds[0] = (start[0], start[0])
    fit = minimize(
        _penalised_nll,
        start,
        args=(logs, classes, pull),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
    )
    return Calibration(
        temperature=temperature or float(np.exp(fit.x[0])),
        bias=tuple(float(b) for b in fit.x[1:]),
    )


def _penalised_nll(
    theta: NDArray[np.float64],
    logs: NDArray[np.float32],
    classes: NDArray[np.intp],
    pull: float,
) -> tuple[float, NDArray[np.float64]]:
    """Mean NLL + pull |theta|^2 of theta = (log T, b_1, ...), and its gradient."""
    scaled = logs * np.exp(-theta[0])  # (C, N)
    shifted = scaled + np.concatenate([[0.0], theta[1:]])[:, None]
    shifted -= shifted.max(axis=0)
    q = np.exp(shifted)
    total = q.sum(axis=0)
    q /= total
    voxels = np.arange(classes.size)
    value = float(np.mean(np.log(total) - shifted[classes, voxels]))
    q[classes, voxels] -= 1  # d NLL / d logit
    gradient = np.empty_like(theta)
    gradient[0] = -np.mean((q * scaled).sum(axis=0))
    gradient[1:] = q[1:].mean(axis=1)
    return value + pull * float(theta @ theta), gradient + 2 * pull * theta


def _pooled(
    cases: Sequence[LabelledVoxels],
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Log-probabilities (C, N) and true classes (N,) of all voxels of all cases."""
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
    return logs, classes.astype(np.intp)
