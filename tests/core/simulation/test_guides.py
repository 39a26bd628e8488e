"""The guides: boxes inside the volume, where they should be, the same each time."""

import math
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.boxes import box_slices
from e2miseg_core.progress import run
from e2miseg_core.project import CasePrediction
from e2miseg_core.simulation.guides import boundary, entropy_boxes, random_boxes
from e2miseg_core.uncertainty.log_probabilities import encode_log_probabilities

sizes = st.tuples(*[st.integers(2, 20)] * 3)
odd = st.tuples(*[st.sampled_from((3, 5, 9))] * 3)


def stored(probabilities: np.ndarray, folder: Path) -> CasePrediction:
    """A prediction of which only the log-probabilities are there."""
    codes = encode_log_probabilities(probabilities.astype(np.float32))
    group = zarr.open_group(folder / "log_probabilities.ome.zarr", mode="w")
    array = group.create_array("0", shape=codes.shape, dtype=np.uint8)
    array[:] = codes
    return CasePrediction(number=1, folder=folder, version=0, figures={}, made="")


def inside(box, shape):
    return all(0 <= lo < hi <= n for (lo, hi), n in zip(box, shape, strict=True))


@given(shape=sizes, size=odd, seed=st.integers(0, 99), count=st.integers(0, 8))
def test_random_boxes_lie_inside_and_hold_a_piece_of_boundary(shape, size, seed, count):
    labels = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    boxes = random_boxes(labels, size, count, seed=str(seed))
    edge = boundary(labels)
    assert len(boxes) == min(count, int(edge.sum()) or labels.size)
    for box in boxes:
        assert inside(box, shape)
        assert all(hi - lo <= n for (lo, hi), n in zip(box, size, strict=True))
        assert edge[box_slices(box)].any() or not edge.any()


def test_random_boxes_depend_on_the_seed_alone():
    labels = np.zeros((12, 20, 20), np.uint8)
    labels[3:9, 5:15, 4:16] = 1
    first = random_boxes(labels, (3, 5, 5), 6, seed="1 case_2 0")
    assert first == random_boxes(labels, (3, 5, 5), 6, seed="1 case_2 0")
    assert first != random_boxes(labels, (3, 5, 5), 6, seed="1 case_2 1")
    assert len(set(first)) == 6


def test_the_boundary_has_voxels_on_both_sides():
    labels = np.zeros((1, 1, 6), np.uint8)
    labels[0, 0, 2:4] = 3
    assert boundary(labels)[0, 0].tolist() == [False, True, True, True, True, False]


def test_entropy_boxes_take_the_most_uncertain_place_first(tmp_path):
    shape = (20, 30, 70)  # more than one block along x
    p = np.zeros((2, *shape))
    p[0], p[1] = 1.0, 0.0
    for (z, y, x), share in (((5, 6, 66), 0.5), ((14, 20, 10), 0.2)):
        p[1, z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = share
    p[0] = 1 - p[1]
    boxes = run(entropy_boxes(stored(p, tmp_path), (3, 3, 3), 5))
    assert boxes == [
        ((4, 7), (5, 8), (65, 68)),
        ((13, 16), (19, 22), (9, 12)),
    ]  # and no third one: nothing is left


def test_entropy_is_symmetric_where_the_expected_error_is_not(tmp_path):
    """Of classes with 0.6 and 0.4, H = -0.6 ln 0.6 - 0.4 ln 0.4, whoever is chosen."""
    p = np.zeros((2, 6, 6, 12))
    p[0] = 1.0
    p[0, 2, 2, 2], p[0, 2, 2, 8] = 0.6, 0.4
    p[1] = 1 - p[0]
    boxes = run(entropy_boxes(stored(p, tmp_path), (3, 3, 3), 2))
    assert boxes == [((1, 4), (1, 4), (1, 4)), ((1, 4), (1, 4), (7, 10))]
    assert math.isclose(-0.6 * math.log(0.6) - 0.4 * math.log(0.4), 0.673, abs_tol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_entropy_boxes_lie_inside(tmp_path, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([0.2] * 3, (7, 11, 8)).transpose(3, 0, 1, 2)
    boxes = run(entropy_boxes(stored(p, tmp_path), (3, 5, 5), 10))
    assert len(boxes) == 10
    assert all(inside(box, (7, 11, 8)) for box in boxes)
