"""Laws of the error map."""

import numpy as np
import pytest

from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.error_map import (
    entropy,
    expected_error,
    from_uint8,
    to_uint8,
)


def random_probabilities(n_classes: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.dirichlet(np.ones(n_classes), size=(4, 5, 6)).astype(np.float32)
    return np.moveaxis(found, -1, 0)


def test_a_higher_temperature_is_less_certain() -> None:
    p = random_probabilities()
    labels = p.argmax(axis=0)
    cold, hot = (
        expected_error(p, labels, Calibration(temperature=t)) for t in (1.0, 3.0)
    )
    assert (hot >= cold - 1e-6).all()


def test_expected_error_is_one_minus_the_label_s_probability() -> None:
    p = random_probabilities()
    labels = np.random.default_rng(1).integers(0, 3, p.shape[1:])
    found = expected_error(p, labels, Calibration())
    for index in np.ndindex(labels.shape):
        assert found[index] == pytest.approx(1 - p[(labels[index], *index)], abs=1e-6)


def test_certain_voxels_have_no_expected_error() -> None:
    p = np.zeros((2, 1, 1, 2), np.float32)
    p[0] = 1
    hot, cold = Calibration(temperature=2.0), Calibration(temperature=0.3)
    assert not expected_error(p, np.zeros((1, 1, 2), int), hot).round(5).any()
    assert np.isfinite(expected_error(p, np.ones((1, 1, 2), int), cold)).all()


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
