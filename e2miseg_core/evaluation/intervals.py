"""How sure a mean is: bootstrap intervals, and paired comparison of two predictions.

What is drawn, or swapped, is a group: all cases of a patient together, or else a case.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["DRAWS", "Difference", "Interval", "bootstrap_interval", "paired_difference"]

DRAWS = 10_000
_LEVEL = 0.95
_BATCH = 2_000_000  # numbers drawn at a time, for memory
# Two sums of the same differences in another order may differ by this.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def to_json(self) -> list[float]:
        """Both ends."""
        return [self.low, self.high]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean difference of one figure between two predictions of the same cases.

    Attributes
    ----------
    mean : float
        First minus second; NaN without any case.
    interval : Interval or None
        None with a single group.
    p_value : float or None
        Of the hypothesis that which is which does not matter.
    n_cases, n_groups : int
    """

    mean: float
    interval: Interval | None
    p_value: float | None
    n_cases: int
    n_groups: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "difference": self.mean if self.n_cases else None,
            "interval": self.interval.to_json() if self.interval else None,
            "p_value": self.p_value,
            "n_cases": self.n_cases,
            "n_groups": self.n_groups,
        }


def bootstrap_interval(
    values: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval | None:
    """95 % percentile interval of a mean, whole groups drawn with replacement [1]_.

    Parameters
    ----------
    values : sequence of float
        One a case; cases whose value is NaN are left out.
    groups : sequence of str, optional
        The group of each case; without it each case is its own.
    seed, draws : int

    Returns
    -------
    Interval or None
        None with fewer than two groups, of which nothing can be drawn.

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993),
       chapter 13; section 8.6 for groups.
    """
    sums, counts = _by_group(values, groups)
    if sums.size < 2:
        return None
    means = sums / counts
    if np.ptp(means) <= _ROUNDING * max(1.0, float(np.abs(means).max())):
        mean = float(sums.sum() / counts.sum())
        return Interval(low=mean, high=mean)
    drawn = stats.bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=draws,
        confidence_level=_LEVEL,
        method="percentile",
        batch=max(1, _BATCH // sums.size),
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(low=float(drawn.low), high=float(drawn.high))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Difference:
    """Compare a figure of two predictions, case by case.

    Parameters
    ----------
    first, second : sequence of float
        Of the same cases in the same order; those with a NaN are left out.
    groups : sequence of str, optional
        The group of each case, whose differences keep together.
    seed, draws : int

    Returns
    -------
    Difference
        With a percentile interval by the bootstrap and the two-sided p value of a
        permutation test that swaps the predictions of whole groups: exact where there
        are no more ways to swap than `draws`, else of `draws` random ones.
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    sums, counts = _by_group(differences.tolist(), groups)
    if sums.size == 0:
        return Difference(
            mean=float("nan"), interval=None, p_value=None, n_cases=0, n_groups=0
        )
    return Difference(
        mean=float(sums.sum() / counts.sum()),
        interval=bootstrap_interval(
            differences.tolist(), groups, seed=seed, draws=draws
        ),
        p_value=_permutation(sums, seed, draws) if sums.size > 1 else None,
        n_cases=int(counts.sum()),
        n_groups=int(sums.size),
    )


def _permutation(sums: NDArray[np.float64], seed: int, draws: int) -> float:
    if not np.any(sums):
        return 1.0
    test = stats.permutation_test(
        (sums, np.zeros_like(sums)),
        _total,
        permutation_type="samples",
        vectorized=True,
        n_resamples=draws,
        batch=max(1, _BATCH // sums.size),
        random_state=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def _by_group(
    values: Sequence[float], groups: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the known values of each group."""
    array = np.asarray(values, dtype=np.float64)
    names = np.arange(array.size).astype(str) if groups is None else np.asarray(groups)
    known = ~np.isnan(array)
    _, index = np.unique(names[known], return_inverse=True)
    return (
        np.bincount(index, weights=array[known]).astype(np.float64),
        np.bincount(index).astype(np.float64),
    )


def _ratio(sums: Any, counts: Any, axis: int = -1) -> Any:
    """Mean over the cases of the groups that were drawn."""
    return np.sum(sums, axis=axis) / np.sum(counts, axis=axis)


def _total(first: Any, second: Any, axis: int = -1) -> Any:
    return np.sum(first - second, axis=axis)
