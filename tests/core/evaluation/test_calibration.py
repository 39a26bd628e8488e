"""Calibration by hand, by laws, and near the structure only."""

import dask.array as da
import numpy as np
import pytest

from e2miseg_core.errors import ConfigError
from e2miseg_core.evaluation import ProbabilityMap, Reliability, Structure, reliability

ONE = Structure(name="one", values=(1,))


def of(probability, truth) -> Reliability:
    return Reliability.of(np.asarray(probability, float), np.asarray(truth, bool))


def test_four_voxels_by_hand():
    """Bins of 1/15: two voxels at 0.9 of which one is true, two at 0.1, none."""
    sums = of([0.9, 0.9, 0.1, 0.1], [True, False, False, False])
    assert sums.ece == pytest.approx((2 * 0.4 + 2 * 0.1) / 4)
    assert sums.ace == pytest.approx((2 * 0.4 + 2 * 0.1) / 4)
    assert sums.brier == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    expected = -(np.log(0.9) + np.log(0.1) + 2 * np.log(0.9)) / 4
    assert sums.nll == pytest.approx(expected)
    bins = sums.bins
    assert bins[1].tolist() == pytest.approx([2, 0.1, 0.0])
    assert bins[13].tolist() == pytest.approx([2, 0.9, 0.5])
    assert np.isnan(bins[0, 1:]).all()


def test_what_is_certain_and_right_has_no_error_and_certain_and_wrong_all_of_it():
    assert of([0.0, 1.0, 1.0], [False, True, True]).ece == 0
    assert of([1.0, 0.0], [False, True]).ece == 1
    assert np.isfinite(of([1.0], [False]).nll)


def test_drawn_from_its_own_probabilities_it_is_calibrated():
    random = np.random.default_rng(0)
    p = random.random(200_000)
    sums = of(p, random.random(p.size) < p)
    assert sums.ece < 0.005
    assert sums.ace < 0.005
    assert of(p, random.random(p.size) < p**2).ece == pytest.approx(1 / 6, abs=0.005)


def test_parts_add_up():
    random = np.random.default_rng(1)
    p, y = random.random(900), random.random(900) < 0.3
    whole, parts = of(p, y), of(p[:400], y[:400]) + of(p[400:], y[400:])
    for figure in ("ece", "ace", "brier", "nll"):
        assert getattr(parts, figure) == pytest.approx(getattr(whole, figure))
    assert of([], []).ece is None


def test_only_voxels_near_the_structure_count():
    """Within 5 finest sides (here 5 mm along x, 2 rows of 2 mm along z)."""
    reference = np.zeros((11, 5, 40), dtype=bool)
    reference[5, 2, 20] = True
    p = np.full((2, 11, 5, 40), 0.5, np.float16)
    maps = ProbabilityMap(data=p, class_values=(0, 1))
    spacing = (2.0, 1.0, 1.0)
    found = reliability(maps, ONE, reference, reference, spacing)
    z, y, x = np.indices(reference.shape)
    far = np.sqrt((2 * (z - 5)) ** 2 + (y - 2) ** 2 + (x - 20) ** 2)
    assert found.n_voxels == np.count_nonzero(far <= 5)
    assert found.ece == pytest.approx(0.5 - 1 / found.n_voxels)
    nothing = np.zeros_like(reference)
    assert reliability(maps, ONE, nothing, nothing, spacing).n_voxels == 0


def test_slabs_change_nothing(monkeypatch):
    random = np.random.default_rng(2)
    predicted, reference = random.random((2, 20, 9, 9)) < 0.003
    p = random.random((3, 20, 9, 9)).astype(np.float32)
    p /= p.sum(axis=0)
    both = Structure(name="both", values=(1, 2))
    maps = ProbabilityMap(data=da.from_array(p), class_values=(0, 1, 2))
    whole = reliability(maps, both, predicted, reference, (1.0, 1.0, 1.0))
    monkeypatch.setattr("e2miseg_core.evaluation.calibration._SLAB_VOXELS", 90)
    slabs = reliability(maps, both, predicted, reference, (1.0, 1.0, 1.0))
    assert slabs.counts.tolist() == whole.counts.tolist()
    assert slabs.ece == pytest.approx(whole.ece)


def test_what_is_no_probability_is_told():
    mask = np.ones((2, 2, 2), dtype=bool)
    for value in (7.0, -1.0, np.nan):
        wrong = ProbabilityMap(data=np.full((2, 2, 2, 2), value), class_values=(0, 1))
        with pytest.raises(ConfigError, match="from 0 to 1"):
            reliability(wrong, ONE, mask, mask, (1.0, 1.0, 1.0))
    few = ProbabilityMap(data=np.zeros((1, 2, 2, 2)), class_values=(0,))
    with pytest.raises(ConfigError, match="a channel of every label of one"):
        reliability(few, ONE, mask, mask, (1.0, 1.0, 1.0))
