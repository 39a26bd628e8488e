"""Bootstrap intervals and paired comparison, by exact values and laws."""

import numpy as np
import pytest

from e2miseg_core.evaluation import (
    bland_altman,
    bootstrap_interval,
    paired_difference,
)
from e2miseg_core.evaluation.differences import too_few_words


def test_equal_values_have_no_spread():
    found = bootstrap_interval([0.3] * 7)
    assert (found.low, found.high) == pytest.approx((0.3, 0.3))


def test_one_case_has_no_interval():
    assert bootstrap_interval([0.5]) is None
    assert bootstrap_interval([0.5, 0.7, 0.9], ["a", "a", "a"]) is None
    assert bootstrap_interval([]) is None


def test_two_cases_by_hand():
    """Means of two draws from {0, 1}: 0, 1/2 and 1 at 25, 50 and 25 %."""
    found = bootstrap_interval([0.0, 1.0])
    assert (found.low, found.high) == (0.0, 1.0)


def test_many_cases_as_the_normal_law_has_it():
    values = np.random.default_rng(0).normal(0.8, 0.1, 400)
    found = bootstrap_interval(values.tolist())
    error = values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_the_seed_decides_and_the_order_of_cases_does_not():
    values = np.random.default_rng(1).random(20)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_cases_of_one_patient_are_drawn_together():
    """Copies of a case make the interval no narrower if they are one group."""
    values = np.random.default_rng(2).random(12)
    names = [f"p{i:02d}" for i in range(12)]
    alone = bootstrap_interval(values, names)
    copied = bootstrap_interval(np.repeat(values, 10), np.repeat(names, 10).tolist())
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    naive = bootstrap_interval(np.repeat(values, 10))
    assert naive.high - naive.low < 0.5 * (alone.high - alone.low)


def test_values_that_are_missing_are_left_out():
    values = [0.1, np.nan, 0.4, 0.9]
    assert bootstrap_interval(values) == bootstrap_interval([0.1, 0.4, 0.9])


def test_five_cases_all_better_have_the_exact_p_value():
    """Of 32 ways to swap, the observed one and its opposite are as extreme."""
    first = [0.9, 0.8, 0.85, 0.7, 0.95]
    second = [0.8, 0.75, 0.7, 0.68, 0.9]
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert found.p_value == pytest.approx(2 / 32)
    assert found.interval.low > 0
    back = paired_difference(second, first)
    assert back.mean == pytest.approx(-found.mean)
    assert back.p_value == pytest.approx(found.p_value)
    assert back.interval.low == pytest.approx(-found.interval.high, abs=0.01)


def test_equal_predictions_do_not_differ():
    found = paired_difference([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert (found.mean, found.p_value) == (0.0, 1.0)
    assert (found.interval.low, found.interval.high) == (0.0, 0.0)


def test_many_cases_swap_at_random_and_groups_swap_together():
    random = np.random.default_rng(3)
    first = random.normal(0.0, 1.0, 60)
    noise = paired_difference(first, np.zeros(60))
    assert noise.p_value > 0.02
    assert paired_difference(first + 1, np.zeros(60)).p_value < 0.001
    grouped = paired_difference(first + 1, np.zeros(60), ["a", "b", "c"] * 20)
    assert grouped.p_value == pytest.approx(2 / 8)
    assert grouped.n_groups == 3


def test_no_case_at_all():
    found = paired_difference([np.nan], [0.5])
    assert found.n_cases == 0
    assert found.to_json()["difference"] is None


def test_volumes_by_hand():
    """Differences 1, 2, 3 ml: bias 2, standard deviation 1."""
    found = bland_altman([11.0, 12.0, 13.0], [10.0, 10.0, 10.0])
    assert found.bias_ml == pytest.approx(2.0)
    assert found.limits_ml == pytest.approx((0.04, 3.96))
    assert bland_altman([1.0], [3.0]).limits_ml is None
    assert bland_altman([1.0, 3.0], [3.0, 1.0]).absolute_ml == pytest.approx(2.0)


@pytest.mark.parametrize(("n_groups", "copies"), [(2, 1), (5, 1), (5, 2), (6, 1)])
def test_the_least_p_value_that_is_told_is_the_least_there_is(n_groups, copies):
    """All better, each by another amount: no difference has a smaller p value."""
    values = [1.0 + 0.1 * i for i in range(n_groups * copies)]
    groups = [str(i % n_groups) for i in range(n_groups * copies)]
    found = paired_difference(values, [0.0] * len(values), groups)
    said = too_few_words({"": {"dice": found}})
    if n_groups == 6:
        assert found.p_value == pytest.approx(1 / 32)
        assert not said
    else:
        what = "cases" if copies == 1 else "groups"
        least = f"{found.p_value:g}"
        assert said == f"with {n_groups} {what} no p value below {least} is possible"


def test_one_group_has_no_p_value_and_is_told():
    found = paired_difference([1.0, 0.5], [0.0, 0.0], ["a", "a"])
    assert found.p_value is None
    assert "no p value" in too_few_words({"": {"dice": found}})
