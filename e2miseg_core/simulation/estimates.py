"""Means over cases with the uncertainty that comes of having few of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from e2miseg_core.evaluation import bootstrap_interval

__all__ = ["Estimate", "estimate"]


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
    """Mean of one value a case, with its percentile bootstrap interval.

    Parameters
    ----------
    values : sequence of float
        At least one.

    Returns
    -------
    Estimate
        The same for the same values: cases are drawn from a fixed seed. Of a single
        case, both ends are its value.
    """
    mean = float(np.mean(values))
    interval = bootstrap_interval(values)
    low, high = (interval.low, interval.high) if interval else (mean, mean)
    return Estimate(mean=mean, low=low, high=high, n_cases=len(values))
