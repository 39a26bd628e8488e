"""Probabilities in bytes: what comes back, and how far off."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.uncertainty.calibration import CERTAIN, Calibration
from e2miseg_core.uncertainty.log_probabilities import (
    NONE,
    STEP,
    decode_log_probabilities,
    encode_log_probabilities,
)


def probabilities(n_classes: int, scale: float, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, scale, (n_classes, 6, 7, 8))
    powers = np.exp(logits - logits.max(axis=0))
    return (powers / powers.sum(axis=0)).astype(np.float32)


def test_codes_by_hand() -> None:
    p = np.array([[0.5, 1.0, 0.0, 0.00005], [0.5, 0.0, 1.0, 0.99995]], np.float32)
    half = round(np.log(2) / STEP)
    assert encode_log_probabilities(p).T.tolist() == [
        [half, half],
        [0, 0],  # certain background
        [NONE, 0],
        [NONE, 0],
    ]
    np.testing.assert_array_equal(
        decode_log_probabilities(encode_log_probabilities(p)).T,
        [[0.5, 0.5], [1, 0], [0, 1], [0, 1]],
    )


@given(
    n_classes=st.integers(2, 5),
    scale=st.floats(0.1, 8),
    seed=st.integers(0, 99),
)
def test_what_comes_back_is_within_the_stated_error(
    n_classes: int, scale: float, seed: int
) -> None:
    p = probabilities(n_classes, scale, seed)
    codes = encode_log_probabilities(p)
    found = decode_log_probabilities(codes)
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=1e-6)
    sure = p.max(axis=0) >= CERTAIN
    np.testing.assert_array_equal(found.argmax(axis=0)[sure], p.argmax(axis=0)[sure])
    assert set(found[:, sure].ravel()) <= {0, 1}
    off = np.abs(found - p)[:, ~sure]
    assert (off <= 0.05 * p[:, ~sure] + 1e-5).all()


@pytest.mark.parametrize(
    "calibration",
    [Calibration(temperature=1.5), Calibration(temperature=1.3, bias=(1.0, -2.0))],
)
def test_calibrated_probabilities_hardly_change(calibration: Calibration) -> None:
    p = probabilities(3, 4, 1)
    found = calibration.apply(decode_log_probabilities(encode_log_probabilities(p)))
    np.testing.assert_allclose(found, calibration.apply(p), atol=0.015)


def test_certain_background_needs_no_storage() -> None:
    p = np.zeros((3, 4, 4, 4), np.float32)
    p[0] = 1
    assert not encode_log_probabilities(p).any()


def test_an_exact_tie_is_described() -> None:
    p = np.full((4, 2, 2, 2), 0.25, np.float32)
    found = decode_log_probabilities(encode_log_probabilities(p))
    np.testing.assert_allclose(found, p, rtol=1e-6)
