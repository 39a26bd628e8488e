import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from e2miseg_core.boxes import box_slices
from e2miseg_core.project import ACCEPTED, HUMAN
from e2miseg_napari import preview as module
from e2miseg_napari.preview import Preview
from e2miseg_napari.remaining_errors import RemainingErrors

SHAPE = (12, 14, 17)
FINAL = (((0, 4), (0, 14), (0, 17)), ((4, 9), (3, 8), (2, 11)))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def found(rng):
    """What the worker has written so far: labels and chances of error."""
    labels = rng.integers(1, 4, SHAPE, np.uint8)
    return labels, rng.integers(1, 255, SHAPE, np.uint8)


@pytest.fixture
def preview(found):
    shown = Preview(*(zarr.array(part, chunks=(4, 8, 8)) for part in found))
    for box in FINAL:
        shown.add(box)
    return shown


@pytest.fixture
def authority(rng):
    kinds = np.array([0, HUMAN, ACCEPTED], np.uint8)
    return rng.choice(kinds, SHAPE, p=(0.96, 0.02, 0.02))


def expected_labels(found, authority, old, box, step):
    """The rule, voxel by voxel."""
    final = np.zeros(SHAPE, bool)
    for part in FINAL:
        final[box_slices(part)] = True
    out = old.copy()
    for at in itertools.product(*(range(low, high) for low, high in box)):
        first = tuple(step * i for i in at)
        inside = tuple(i - low for i, (low, _) in zip(at, box, strict=True))
        free = authority[first] == 0 if step == 1 else old[inside] == 0
        if final[first] and free:
            out[inside] = found[0][first]
    return out


@pytest.mark.parametrize(
    ("level", "box"),
    [
        (0, ((0, 12), (0, 14), (0, 17))),
        (0, ((3, 4), (0, 14), (0, 17))),
        (0, ((2, 9), (5, 6), (1, 16))),
        (1, ((0, 6), (0, 7), (0, 9))),
        (1, ((1, 2), (0, 7), (3, 9))),
        (2, ((0, 3), (0, 4), (0, 5))),
    ],
)
def test_what_is_final_shows_where_no_human_spoke(
    rng, preview, found, authority, level, box
):
    old = 9 * (rng.random([high - low for low, high in box]) < 0.1).astype(np.uint8)
    shown = old.copy()
    preview.draw_labels(shown, box, level=level, authority=authority)
    expected = expected_labels(found, authority, old, box, 2**level)
    assert (expected != old).any()
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(
    ("level", "box", "voxels"),
    [
        (0, ((0, 4), (0, 14), (0, 17)), 4 * 14 * 17),
        (1, ((1, 2), (0, 7), (0, 8)), 14 * 16),
        (1, ((0, 2), (0, 7), (0, 8)), 4 * 14 * 16),
    ],
)
def test_views_that_are_slow_to_read_stay_as_they_are(
    preview, authority, monkeypatch, level, box, voxels
):
    authority[:] = 0
    shown = np.zeros([high - low for low, high in box], np.uint8)
    monkeypatch.setattr(module, "MOST_VOXELS", voxels - 1)
    preview.draw_labels(shown, box, level=level, authority=authority)
    assert not shown.any()
    monkeypatch.setattr(module, "MOST_VOXELS", voxels)
    preview.draw_labels(shown, box, level=level, authority=authority)
    assert shown.any()


def test_chances_found_so_far_stand_above_those_of_the_last_prediction(
    preview, found, authority
):
    old = np.full(SHAPE, 7, np.uint8)
    volume = zarr.array(authority, chunks=(4, 8, 8))
    errors = RemainingErrors(old, SimpleNamespace(authority=volume))
    errors.preview = preview
    expected = old.copy()
    for box in FINAL:
        expected[box_slices(box)] = found[1][box_slices(box)]
    expected[authority != 0] = 0
    np.testing.assert_array_equal(np.asarray(errors), expected)
    np.testing.assert_array_equal(np.asarray(errors[3]), expected[3])
    np.testing.assert_array_equal(np.asarray(errors[2:6, 4, 1:]), expected[2:6, 4, 1:])
    errors.preview = None
    np.testing.assert_array_equal(
        np.asarray(errors[3]), np.where(authority[3] != 0, 0, old[3])
    )


def test_without_a_prediction_nothing_is_in_doubt(authority):
    errors = RemainingErrors(None, SimpleNamespace(authority=zarr.array(authority)))
    assert errors.shape == SHAPE
    assert not np.asarray(errors).any()


def test_an_empty_map_costs_no_reading():
    class Unread:
        shape, chunks, size = (1 << 12,) * 3, (64,) * 3, 1 << 36

        def __getitem__(self, key):
            pytest.fail("read")

    errors = RemainingErrors(None, SimpleNamespace(authority=Unread()))
    assert not np.asarray(errors[7, :20]).any()
