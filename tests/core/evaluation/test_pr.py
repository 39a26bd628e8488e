"""Average precision, by hand and by brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import ConfigError, GeometryError
from e2miseg_core.evaluation import average_precision, average_precision_of_parts


def brute(scores, errors) -> float:
    """Sum of precision times the rise of recall, threshold by threshold."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [e for s, e in zip(scores, errors, strict=True) if s >= threshold]
        now = sum(taken) / sum(errors)
        area += (now - recall) * sum(taken) / len(taken)
        recall = now
    return area


def test_four_voxels_by_hand():
    """Errors come 1st and 3rd: (1/1 + 2/3) / 2."""
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    errors = np.array([True, False, True, False])
    assert average_precision(scores, errors) == pytest.approx((1 + 2 / 3) / 2)


def test_equal_scores_come_together():
    """0.8 is had by an error and a right voxel: (1/1 + 2/3) / 2 in either order."""
    for errors in ([True, True, False, False], [True, False, True, False]):
        value = average_precision(np.array([0.9, 0.8, 0.8, 0.1]), np.array(errors))
        assert value == pytest.approx((1 + 2 / 3) / 2)


def test_perfect_constant_and_worst():
    errors = np.arange(100) < 7
    assert average_precision(errors.astype(float), errors) == 1.0
    assert average_precision(np.ones(100), errors) == pytest.approx(0.07)
    worst = sum(k / (93 + k) for k in range(1, 8)) / 7
    assert average_precision(np.arange(100.0), errors) == pytest.approx(worst)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=60))
def test_equals_brute_force_with_many_ties(voxels):
    scores, errors = zip(*voxels, strict=True)
    found = average_precision(np.array(scores, np.uint8), np.array(errors))
    if any(errors):
        assert found == pytest.approx(brute(scores, errors), abs=1e-12)
    else:
        assert math.isnan(found)


def test_only_the_order_of_the_scores_counts():
    rng = np.random.default_rng(0)
    errors = rng.random((6, 7, 8)) < 0.2
    scores = rng.random((6, 7, 8)).astype(np.float32) + errors * 0.3
    expected = average_precision(scores, errors)
    assert average_precision(np.exp(5 * scores), errors) == pytest.approx(expected)
    assert average_precision(scores.ravel()[::-1], errors.ravel()[::-1]) == expected
    assert average_precision(scores.T, errors.T) == expected
    assert 0.2 < expected < 1.0


@pytest.mark.parametrize("levels", [6, 255, 2**31])
def test_the_same_of_parts_as_of_the_whole(levels):
    """One of the parts has no error, some none but errors."""
    rng = np.random.default_rng(1)
    scores = rng.integers(0, levels, 900).astype(np.float32)
    errors = rng.random(900) < 0.3
    errors[100:200], errors[300:320] = False, True
    bounds = [0, 100, 200, 300, 320, 900]
    parts = [
        (scores[low:high], errors[low:high]) for low, high in itertools.pairwise(bounds)
    ]
    found = average_precision_of_parts(lambda: iter(parts))
    assert found == average_precision(scores, errors)
    assert found == pytest.approx(brute(scores.tolist(), errors.tolist()))


def test_no_part_has_no_error():
    assert math.isnan(average_precision_of_parts(list))


def test_the_scores_are_left_as_they_were():
    scores = np.array([0.3, 0.9, 0.1])
    average_precision(scores, np.array([True, False, True]))
    assert scores.tolist() == [0.3, 0.9, 0.1]


def test_wrong_arguments_are_told():
    with pytest.raises(GeometryError, match="shape"):
        average_precision(np.zeros(3), np.zeros(4, dtype=bool))
    with pytest.raises(ConfigError, match="not a number"):
        average_precision(np.array([np.nan, 1.0]), np.array([True, False]))
