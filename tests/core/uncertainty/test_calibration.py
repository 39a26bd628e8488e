"""Vector scaling: by hand, as an optimum, and on labels drawn from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from e2miseg_core.errors import DatasetError, ModelError
from e2miseg_core.uncertainty.calibration import (
    CERTAIN,
    PRIOR,
    Calibration,
    _penalised_nll,
    fit_calibration,
    fit_temperature,
    mean_nll,
)


def softmax_of_noise(shape: tuple[int, ...], seed: int, scale: float = 2) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, scale, shape)
    powers = np.exp(logits)
    return (powers / powers.sum(axis=0)).astype(np.float32)


def drawn_from(q: np.ndarray, seed: int) -> np.ndarray:
    """True classes as if `q` were right."""
    chance = np.random.default_rng(seed).random(q.shape[1:])
    return (chance[None] > q.cumsum(axis=0)).sum(axis=0).clip(0, q.shape[0] - 1)


def labelled(calibration: Calibration, n_cases: int = 3) -> list:
    cases = []
    for seed in range(n_cases):
        p = softmax_of_noise((3, 30, 30, 30), seed)
        cases.append((p, drawn_from(calibration.apply(p), seed + 100)))
    return cases


def test_temperature_by_hand() -> None:
    p = np.array([0.8, 0.2], np.float32).reshape(2, 1, 1, 1)
    found = Calibration(temperature=2.0).apply(p).ravel()
    roots = np.sqrt([0.8, 0.2])
    np.testing.assert_allclose(found, roots / roots.sum(), rtol=1e-6)


def test_bias_by_hand() -> None:
    p = np.array([0.5, 0.3, 0.2], np.float32)
    found = Calibration(bias=(np.log(2), np.log(3))).apply(p)
    np.testing.assert_allclose(found, np.array([0.5, 0.6, 0.6]) / 1.7, rtol=1e-6)


def test_bias_is_added_after_the_division_by_the_temperature() -> None:
    p = softmax_of_noise((3, 50), 1)
    logits = np.log(p) / 1.7 + np.array([[0], [0.4], [-1.1]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=0)
    found = Calibration(temperature=1.7, bias=(0.4, -1.1)).apply(p)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@given(
    temperature=st.floats(0.2, 10),
    bias=st.tuples(st.floats(-5, 5), st.floats(-5, 5)) | st.just(()),
)
def test_sums_stay_one_and_zeros_stay_zero(
    temperature: float, bias: tuple[float, ...]
) -> None:
    p = softmax_of_noise((3, 40), 2)
    p[:, 0] = (0, 1, 0)
    q = Calibration(temperature=temperature, bias=bias).apply(p)
    np.testing.assert_allclose(q.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(q[:, 0], (0, 1, 0))
    if not any(bias):
        np.testing.assert_array_equal(q.argmax(axis=0), p.argmax(axis=0))


def test_the_neutral_calibration_changes_nothing() -> None:
    p = softmax_of_noise((3, 40), 3)
    assert Calibration().apply(p) is p
    np.testing.assert_array_equal(Calibration(bias=(0.0, 0.0)).apply(p), p)


def test_cards_of_today_and_with_a_bias_are_read() -> None:
    assert Calibration.from_card({}) == Calibration()
    assert Calibration.from_card({"temperature": 1.5, "cases": 20}) == Calibration(
        temperature=1.5
    )
    own = Calibration(temperature=0.8, bias=(0.5, -0.25))
    assert Calibration.from_card(own.to_card()) == own


@pytest.mark.parametrize("stored", [{"temperature": 0}, {"bias": [float("nan")]}])
def test_a_card_that_cannot_be_right_is_refused(stored: dict) -> None:
    with pytest.raises(ModelError, match="a calibration by"):
        Calibration.from_card(stored)


def test_a_bias_for_other_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="2 biases for 2 classes"):
        Calibration(bias=(0.1, 0.2)).apply(softmax_of_noise((2, 5), 0))


def test_nll_by_hand() -> None:
    logs = np.log(np.array([[0.9, 0.4], [0.1, 0.6]], np.float32))
    assert mean_nll(logs, np.array([0, 0]), 1.0) == pytest.approx(
        -(np.log(0.9) + np.log(0.4)) / 2, rel=1e-5
    )


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(truth: float) -> None:
    cases = labelled(Calibration(temperature=truth))
    assert fit_temperature(cases) == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize(
    "truth",
    [
        Calibration(temperature=1.6, bias=(0.7, -1.2)),
        Calibration(temperature=0.7, bias=(-0.5, 0.0)),
    ],
)
def test_the_bias_that_made_the_labels_is_found(truth: Calibration) -> None:
    found = fit_calibration(labelled(truth))
    assert found.temperature == pytest.approx(truth.temperature, rel=0.05)
    assert found.bias == pytest.approx(truth.bias, abs=0.05)


def test_the_gradient_is_that_of_the_objective() -> None:
    p = softmax_of_noise((3, 200), 4)
    classes = np.random.default_rng(5).integers(0, 3, 200)
    logs = np.log(p.astype(np.float64))
    for theta in ([0.0, 0, 0], [0.5, -1, 2], [-0.4, 0.3, 0.1]):
        numeric = approx_fprime(
            np.array(theta), lambda t: _penalised_nll(t, logs, classes, 0.2)[0]
        )
        analytic = _penalised_nll(np.array(theta), logs, classes, 0.2)[1]
        np.testing.assert_allclose(analytic, numeric, atol=1e-5)


def test_what_is_found_is_an_optimum() -> None:
    cases = labelled(Calibration(temperature=1.3, bias=(0.4, 0.9)))
    found = fit_calibration(cases)
    p = np.concatenate([case.reshape(3, -1) for case, _ in cases], axis=1)
    classes = np.concatenate([labels.ravel() for _, labels in cases])
    kept = p.max(axis=0) < CERTAIN
    logs = np.log(p[:, kept])
    theta = np.array([np.log(found.temperature), *found.bias])
    best, slope = _penalised_nll(theta, logs, classes[kept], PRIOR)
    np.testing.assert_allclose(slope, 0, atol=1e-4)
    for step in np.eye(3) * 0.05:
        assert _penalised_nll(theta + step, logs, classes[kept], PRIOR)[0] > best
        assert _penalised_nll(theta - step, logs, classes[kept], PRIOR)[0] > best


def test_few_cases_hold_the_bias_at_zero() -> None:
    cases = labelled(Calibration(temperature=1.4, bias=(1.0, 0.0)))
    for found in (fit_calibration(cases[:2]), fit_calibration(cases, n_cases=2)):
        assert not found.bias
    assert fit_calibration(cases[:2]).temperature == fit_temperature(cases[:2])
    assert fit_calibration(cases[:1], n_cases=3).bias


def test_a_held_temperature_leaves_the_bias_to_be_found() -> None:
    truth = Calibration(temperature=1.4, bias=(0.6, -0.3))
    cases = labelled(truth)
    found = fit_calibration(cases, n_cases=3000, temperature=1.4)
    assert found.temperature == 1.4
    assert found.bias == pytest.approx(truth.bias, abs=0.05)
    assert fit_calibration(cases[:1], temperature=1.4) == Calibration(temperature=1.4)


def test_fewer_cases_pull_the_bias_closer_to_zero() -> None:
    cases = labelled(Calibration(temperature=1.4, bias=(1.0, -1.0)))
    sizes = [
        np.abs(fit_calibration(cases, n_cases=n, temperature=1.4).bias)
        for n in (3, 10, 100)
    ]
    assert (sizes[0] < sizes[1]).all()
    assert (sizes[1] < sizes[2]).all()
    assert (sizes[0] > 0.1).all()


def test_certain_voxels_have_no_say_in_the_bias() -> None:
    cases = labelled(Calibration(temperature=1.4, bias=(0.6, -0.3)))
    sure = np.zeros((3, 4, 5, 6), np.float32)
    sure[2] = 1
    wrong = np.zeros((4, 5, 6), int)
    with_sure = fit_calibration([*cases, (sure, wrong)], n_cases=3)
    assert with_sure == fit_calibration(cases)
    assert fit_calibration([(sure, wrong)] * 3) == Calibration()


def test_a_class_that_never_occurs_keeps_a_finite_bias() -> None:
    p = softmax_of_noise((3, 500), 6)
    found = fit_calibration([(p, np.zeros(500, int))] * 3)
    assert all(-10 <= b < -2 for b in found.bias)


def test_the_fit_needs_a_case() -> None:
    for fit in (fit_temperature, fit_calibration):
        with pytest.raises(DatasetError, match="at least one case"):
            fit([])
