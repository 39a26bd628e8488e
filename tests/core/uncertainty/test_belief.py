"""What a case is believed to be, block by block, equals the same in memory."""

import numpy as np
import pytest
import zarr

from e2miseg_core.progress import run
from e2miseg_core.project import ACCEPTED, HUMAN, MACHINE
from e2miseg_core.uncertainty import belief as module
from e2miseg_core.uncertainty.belief import CaseBelief, Corrections, classes_of
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.edges import rank_belief
from e2miseg_core.uncertainty.error_map import expected_error
from e2miseg_core.uncertainty.log_probabilities import (
    decode_log_probabilities,
    encode_log_probabilities,
)
from e2miseg_core.uncertainty.ranking import ClassSums, expected_gain
from e2miseg_core.uncertainty.regions import UNITS, to_units

VALUES = (0, 2, 7)
CALIBRATION = Calibration(temperature=1.4, bias=(0.3, -0.2))
SHAPE = (19, 30, 23)


def stored(array: np.ndarray, chunks: tuple[int, ...]) -> zarr.Array:
    made = zarr.create_array({}, data=array, chunks=chunks)
    assert isinstance(made, zarr.Array)
    return made


def probabilities(seed: int = 0) -> np.ndarray:
    """Two smooth objects in certain background."""
    z, y, x = np.indices(SHAPE)
    noise = np.random.default_rng(seed).normal(0, 0.4, (2, *SHAPE))
    first = 6 - np.hypot(np.hypot(z - 8, y - 9), x - 8)
    second = 4 - np.hypot(np.hypot(z - 11, y - 20), x - 14)
    logits = np.stack([np.zeros(SHAPE), 2 * first, 2 * second])
    logits[1:] += noise
    powers = np.exp(logits)
    return (powers / powers.sum(axis=0)).astype(np.float32)


def case_belief(
    p: np.ndarray, corrections: Corrections | None = None, depth: int = 8
) -> CaseBelief:
    labels = np.array(VALUES, np.uint8)[p.argmax(axis=0)]
    return CaseBelief(
        log_probabilities=stored(encode_log_probabilities(p), (1, depth, 16, 16)),
        predicted=stored(labels, (depth, 16, 16)),
        values=VALUES,
        calibration=CALIBRATION,
        corrections=corrections,
    )


@pytest.fixture(params=[8, 64])
def small_blocks(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", request.param)


def believed(p: np.ndarray) -> np.ndarray:
    return CALIBRATION.apply(decode_log_probabilities(encode_log_probabilities(p)))


def test_label_values_become_classes() -> None:
    labels = np.array([0, 2, 7, 3, 255], np.uint8)
    assert classes_of(labels, VALUES).tolist() == [0, 1, 2, 0, 0]
    assert classes_of(labels, (0, 255)).tolist() == [0, 0, 0, 0, 1]


@pytest.mark.usefixtures("small_blocks")
def test_sums_and_errors_are_those_of_the_whole_arrays() -> None:
    p = probabilities()
    q, h = believed(p), p.argmax(axis=0)
    case = case_belief(p)
    run(case.scan())
    whole = ClassSums.of(h.ravel(), q.reshape(3, -1))
    for name in ("delivered", "expected", "common"):
        np.testing.assert_allclose(
            getattr(case.sums, name), getattr(whole, name), rtol=1e-5
        )
    error = expected_error(q, h, Calibration())
    assert case.total == to_units(error).sum()
    assert case.expected_wrong == pytest.approx(error.sum(), rel=1e-3)
    found = np.zeros(SHAPE, np.uint16)
    for index in case.occupied:
        z, y, x = (i * n for i, n in zip(index, case.block_shape, strict=True))
        part = case.block(index)
        found[z : z + part.shape[0], y : y + part.shape[1], x : x + part.shape[2]] = (
            part
        )
    np.testing.assert_array_equal(found, to_units(error))


def test_what_a_human_said_is_known() -> None:
    p = probabilities()
    h = p.argmax(axis=0)
    authority = np.full(SHAPE, MACHINE, np.uint8)
    authority[5:12, 5:20] = HUMAN
    authority[12:15, :, 3:9] = ACCEPTED
    truth = np.random.default_rng(1).integers(0, 3, SHAPE)
    labels = np.array(VALUES, np.uint8)[np.where(authority == HUMAN, truth, h)]
    corrections = Corrections(
        labels=stored(labels, (16, 16, 16)), authority=stored(authority, (16, 16, 16))
    )
    case = case_belief(p, corrections)
    run(case.scan())
    merged, q = np.where(authority == HUMAN, truth, h), believed(p)
    known = authority != MACHINE
    q[:, known] = (np.arange(3)[:, None] == merged[known]).astype(np.float32)
    whole = ClassSums.of(merged.ravel(), q.reshape(3, -1))
    np.testing.assert_allclose(case.sums.common, whole.common, rtol=1e-5)
    error = expected_error(q, merged, Calibration())
    assert not error[known].any()
    assert case.total == to_units(error).sum()
    everything = case.read(((0, 19), (0, 30), (0, 23)))
    np.testing.assert_array_equal(everything.classes, merged)
    np.testing.assert_allclose(everything.errors(), error, atol=1e-6)


def test_blocks_that_are_certain_are_left_out() -> None:
    p = np.zeros((3, 64, 64, 64), np.float32)
    p[0] = 1
    p[:, 40:44, 3, 3] = np.array([[0.6], [0.4], [0]])
    case = CaseBelief(
        log_probabilities=stored(encode_log_probabilities(p), (1, 32, 32, 32)),
        predicted=stored(np.zeros((64, 64, 64), np.uint8), (32, 32, 32)),
        values=VALUES,
        calibration=Calibration(),
    )
    assert case.block_shape == (64, 64, 64)
    case.block_shape = (32, 32, 32)
    run(case.scan())
    assert case.occupied == {(1, 0, 0)}
    assert case.expected_wrong == pytest.approx(4 * 0.4, rel=0.03)


def test_edges_are_ranked_by_gain_and_count_each_voxel_once() -> None:
    p = probabilities()
    case = case_belief(p)
    edges = run(rank_belief(case, (1.0, 1.0, 1.0)))
    assert [edge.number for edge in edges] == list(range(1, len(edges) + 1))
    gains = [edge.gain for edge in edges]
    assert gains == sorted(gains, reverse=True)
    assert len(edges) > 5
    q, h = believed(p), p.argmax(axis=0)
    error = to_units(expected_error(q, h, Calibration()))
    taken = np.zeros(SHAPE, bool)
    for edge in sorted(edges, key=lambda edge: -edge.expected_wrong):
        where = tuple(slice(*bounds) for bounds in edge.box)
        fresh = np.zeros(SHAPE, bool)
        fresh[where] = ~taken[where]
        assert edge.expected_wrong * UNITS == pytest.approx(error[fresh].sum())
        region = ClassSums.of(h[fresh], q[:, fresh])
        assert edge.gain == pytest.approx(expected_gain(case.sums, region), rel=1e-4)
        assert edge.classes == tuple(np.array(VALUES)[np.unique(h[where])].tolist())
        taken[where] = True


@pytest.mark.parametrize(("radius", "edge"), [(4, 5), (9, 9)])
def test_small_objects_get_small_boxes(radius: int, edge: int) -> None:
    z, y, x = np.indices((31, 31, 31)) - 15
    logit = 2 * (radius - np.sqrt(z**2 + y**2 + x**2))
    p = np.stack([1 / (1 + np.exp(logit)), 1 / (1 + np.exp(-logit))])
    p = np.concatenate([p, np.zeros_like(p[:1])]).astype(np.float32)
    case = CaseBelief(
        log_probabilities=stored(encode_log_probabilities(p), (1, 31, 31, 31)),
        predicted=stored((2 * (logit > 0)).astype(np.uint8), (31, 31, 31)),
        values=VALUES,
        calibration=Calibration(),
    )
    found = run(rank_belief(case, (1.0, 1.0, 1.0)))
    assert found
    assert {hi - lo for lo, hi in found[0].box} == {edge}


def test_no_doubt_no_edge() -> None:
    p = np.zeros((3, *SHAPE), np.float32)
    p[0] = 1
    assert run(rank_belief(case_belief(p), (1.0, 1.0, 1.0))) == ()


def test_what_is_forgotten_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    p = probabilities()
    kept = run(rank_belief(case_belief(p), (1.0, 1.0, 1.0)))
    monkeypatch.setattr(module, "BLOCK", 8)
    monkeypatch.setattr(module, "BLOCKS_KEPT", 2)
    case = case_belief(p)
    assert run(rank_belief(case, (1.0, 1.0, 1.0))) == kept
    assert len(case._kept) == 2
