"""Laws of the error map and its calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import DatasetError
from e2miseg_core.uncertainty.calibration import fit_temperature, mean_nll
from e2miseg_core.uncertainty.error_map import (
    entropy,
    expected_error,
    from_uint8,
    scaled_probabilities,
    to_uint8,
)


def random_probabilities(n_classes: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.dirichlet(np.ones(n_classes), size=(4, 5, 6)).astype(np.float32)
    return np.moveaxis(found, -1, 0)


def test_scaling_by_hand() -> None:
    p = np.array([0.8, 0.2], np.float32).reshape(2, 1, 1, 1)
    found = scaled_probabilities(p, 2.0).ravel()
    roots = np.sqrt([0.8, 0.2])
    np.testing.assert_allclose(found, roots / roots.sum(), rtol=1e-6)


@given(temperature=st.floats(0.2, 10))
def test_scaling_keeps_the_sum_and_the_order(temperature: float) -> None:
    p = random_probabilities()
    q = scaled_probabilities(p, temperature)
    np.testing.assert_allclose(q.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(q.argmax(axis=0), p.argmax(axis=0))


def test_a_higher_temperature_is_less_certain() -> None:
    p = random_probabilities()
    labels = p.argmax(axis=0)
    cold, hot = (expected_error(p, labels, t) for t in (1.0, 3.0))
    assert (hot >= cold - 1e-6).all()


def test_expected_error_is_one_minus_the_label_s_probability() -> None:
    p = random_probabilities()
    labels = np.random.default_rng(1).integers(0, 3, p.shape[1:])
    found = expected_error(p, labels, 1.0)
    for index in np.ndindex(labels.shape):
        assert found[index] == pytest.approx(1 - p[(labels[index], *index)], abs=1e-6)


def test_certain_voxels_have_no_expected_error() -> None:
    p = np.zeros((2, 1, 1, 2), np.float32)
    p[0] = 1
    assert not expected_error(p, np.zeros((1, 1, 2), int), 2.0).round(5).any()
    assert np.isfinite(expected_error(p, np.ones((1, 1, 2), int), 0.3)).all()


def test_stored_bytes_are_within_half_a_step() -> None:
    error = np.linspace(0, 1, 1001, dtype=np.float32)
    back = from_uint8(to_uint8(error))
    assert np.abs(back - error).max() <= 0.5 / 255 + 1e-6
    assert back[0] == 0
    assert back[-1] == 1


def test_entropy_of_known_distributions() -> None:
    p = np.array([[1, 0.5, 0.25], [0, 0.5, 0.75]]).reshape(2, 1, 1, 3)
    expected = [0, np.log(2), -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))]
    np.testing.assert_allclose(entropy(p).ravel(), expected, atol=1e-6)


def test_nll_by_hand() -> None:
    logs = np.log(np.array([[0.9, 0.4], [0.1, 0.6]], np.float32))
    assert mean_nll(logs, np.array([0, 0]), 1.0) == pytest.approx(
        -(np.log(0.9) + np.log(0.4)) / 2, rel=1e-5
    )


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_fit_recovers_the_temperature_that_made_the_labels(truth: float) -> None:
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 2, (3, 40, 40, 40))
    p = np.exp(logits) / np.exp(logits).sum(axis=0)
    q = scaled_probabilities(p.astype(np.float32), truth)
    drawn = (rng.random(q.shape[1:])[None] > q.cumsum(axis=0)).sum(axis=0).clip(0, 2)
    assert fit_temperature([(p.astype(np.float32), drawn)]) == pytest.approx(
        truth, rel=0.05
    )


def test_the_fit_needs_a_case() -> None:
    with pytest.raises(DatasetError, match="at least one case"):
        fit_temperature([])
