"""Means over cases with the uncertainty that comes of having few of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "estimate"]

RESAMPLINGS = 10_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over cases.

    Attributes
    ----------
    mean : float
    low, high : float
        95 % bootstrap interval of the mean.
    n_cases : int
    """

    mean: float
    low: float
    high: float
    n_cases: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of one value a case, with its percentile bootstrap interval [1]_.

    Parameters
    ----------
    values : sequence of float
        At least one.

    Returns
    -------
    Estimate
        The same for the same values: cases are drawn from a fixed seed.

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman
       and Hall (1993), chapter 13.
    """
    known = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(0).integers(
        known.size, size=(RESAMPLINGS, known.size)
    )
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(known[drawn].mean(axis=1), [tail, 1 - tail])
    return Estimate(
        mean=float(known.mean()), low=float(low), high=float(high), n_cases=known.size
    )
