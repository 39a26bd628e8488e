"""The expected gain is the difference of two expected Dice values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.uncertainty.ranking import (
    FLOOR,
    ClassSums,
    expected_dice,
    expected_gain,
)


def case(seed: int, n: int = 400, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n_classes, n))
    q = np.exp(logits) / np.exp(logits).sum(axis=0)
    return rng.integers(0, n_classes, n), q.astype(np.float32)


def dice_by_definition(delivered: np.ndarray, q: np.ndarray) -> float:
    """Mean over foreground of Dice between soft `delivered` and `q`, (C, N) each.

    Where the delivered value is the expectation itself, it is right altogether.
    """
    found = []
    for h, t in zip(delivered[1:].astype(float), q[1:].astype(float), strict=True):
        common = np.where(h == t, t, h * t).sum()
        found.append(2 * common / max(FLOOR, h.sum() + t.sum()))
    return float(np.mean(found))


def one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    return (np.arange(n_classes)[:, None] == labels[None]).astype(np.float32)


@given(seed=st.integers(0, 500), share=st.floats(0, 1))
def test_gain_is_the_difference_of_expected_dice(seed: int, share: float) -> None:
    labels, q = case(seed)
    inside = np.random.default_rng(seed + 1).random(labels.size) < share
    delivered = one_hot(labels, 3)
    corrected = np.where(inside, q, delivered)
    expected = dice_by_definition(corrected, q) - dice_by_definition(delivered, q)
    gain = expected_gain(
        ClassSums.of(labels, q), ClassSums.of(labels[inside], q[:, inside])
    )
    assert gain == pytest.approx(expected, abs=1e-6)
    assert gain >= -1e-12


def test_gain_by_hand() -> None:
    labels = np.array([1] * 30 + [0] * 10)
    q = np.zeros((2, 40), np.float32)
    q[1] = [1.0] * 20 + [0.5] * 10 + [0.0] * 10
    q[0] = 1 - q[1]
    whole = ClassSums.of(labels, q)
    assert whole.delivered.tolist() == [10, 30]
    assert whole.expected.tolist() == [15, 25]
    assert whole.common.tolist() == [10, 25]
    doubtful = slice(20, 30)
    region = ClassSums.of(labels[doubtful], q[:, doubtful])
    assert expected_dice(whole) == pytest.approx(50 / 55)
    assert expected_gain(whole, region) == pytest.approx(1 - 50 / 55)


def test_certain_voxels_change_nothing() -> None:
    labels, q = case(3)
    sure = np.zeros((3, 50), np.float32)
    sure[1] = 1
    whole = ClassSums.of(labels, q) + ClassSums.of_certain(np.full(50, 1), 3)
    joined = ClassSums.of(
        np.concatenate([labels, np.full(50, 1)]), np.concatenate([q, sure], axis=1)
    )
    for name in ("delivered", "expected", "common"):
        np.testing.assert_allclose(getattr(whole, name), getattr(joined, name))
    some = ClassSums.of_certain(np.full(20, 1), 3)
    assert expected_gain(whole, some) == 0


def test_an_empty_class_does_not_take_the_queue() -> None:
    """One doubtful voxel of a class that is nowhere else gains little."""
    labels = np.zeros(1000, int)
    q = np.zeros((2, 1000), np.float32)
    q[0] = 1
    q[:, 0] = 0.5
    whole = ClassSums.of(labels, q)
    one = ClassSums.of(labels[:1], q[:, :1])
    assert expected_gain(whole, one) == pytest.approx(2 * 0.5 / FLOOR)


def test_the_same_error_counts_more_in_a_small_object() -> None:
    doubtful = ClassSums.of(np.ones(5, int), np.full((2, 5), 0.5, np.float32))
    gains = [
        expected_gain(ClassSums.of_certain(np.ones(size, int), 2) + doubtful, doubtful)
        for size in (100, 1000, 10000)
    ]
    assert gains[0] > 5 * gains[1] > 25 * gains[2]
