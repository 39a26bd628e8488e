"""Means and their bootstrap intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.simulation.estimates import estimate

values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(values)
def test_the_interval_holds_the_mean_and_lies_among_the_values(found):
    result = estimate(found)
    assert result.mean == pytest.approx(np.mean(found))
    assert min(found) - 1e-9 <= result.low <= result.mean + 1e-9
    assert result.mean - 1e-9 <= result.high <= max(found) + 1e-9
    assert result.n_cases == len(found)


def test_equal_values_leave_no_doubt():
    result = estimate([0.25] * 7)
    assert (result.low, result.mean, result.high) == (0.25, 0.25, 0.25)
    assert str(result) == "0.250 [0.250, 0.250]"


def test_the_interval_is_that_of_the_normal_distribution_for_many_cases():
    """Half width 1.96 sigma / sqrt(n)."""
    found = np.random.default_rng(1).normal(0.8, 0.05, 400)
    result = estimate(list(found))
    half = 1.96 * found.std() / np.sqrt(found.size)
    assert result.high - result.mean == pytest.approx(half, rel=0.05)
    assert result.mean - result.low == pytest.approx(half, rel=0.05)


def test_two_cases_are_drawn_four_ways():
    """Means 0, 1/2, 1/2, 1 with a quarter each: the outer ones are within 95 %."""
    result = estimate([0.0, 1.0])
    assert (result.low, result.mean, result.high) == (0.0, 0.5, 1.0)


def test_the_same_values_give_the_same_interval():
    assert estimate([0.1, 0.5, 0.7]) == estimate([0.1, 0.5, 0.7])
