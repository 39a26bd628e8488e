"""Laws of boxes, against masks of their voxels."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    bounding_box,
    box_from_json,
    box_of_mask,
    box_shape,
    box_slices,
    clip_box,
    common_box,
    grow_box,
    hide_boxes,
    make_box,
    overlap,
    pad_to_box,
    slices_within,
    whole_box,
)

SHAPE = (5, 7, 6)
starts = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
sizes = st.tuples(*(st.integers(1, n) for n in SHAPE))
boxes = st.builds(lambda at, n: clip_box(make_box(at, n), SHAPE), starts, sizes)


def voxels(box: Box) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    mask[box_slices(box)] = True
    return mask


@given(boxes, boxes)
def test_what_boxes_share_is_what_their_voxels_share(a: Box, b: Box) -> None:
    both = voxels(a) & voxels(b)
    assert overlap(a, b) == overlap(b, a) == both.any()
    assert common_box(a, b) == common_box(b, a)
    if both.any():
        np.testing.assert_array_equal(voxels(common_box(a, b)), both)
        assert box_of_mask(both, whole_box(SHAPE)) == common_box(a, b)


@given(st.lists(boxes, min_size=1, max_size=4))
def test_the_bounding_box_is_the_smallest_around_all_voxels(some: list[Box]) -> None:
    mask = np.logical_or.reduce([voxels(box) for box in some])
    around = bounding_box(some)
    assert around == box_of_mask(mask, whole_box(SHAPE))
    assert all(common_box(box, around) == box for box in some)


@given(boxes, st.tuples(*[st.integers(0, 3)] * 3))
def test_a_grown_box_shrinks_back(box: Box, by: tuple[int, int, int]) -> None:
    grown = grow_box(box, by)
    assert grow_box(grown, [-n for n in by]) == box
    assert common_box(grown, box) == box
    expected = tuple(n + 2 * more for n, more in zip(box_shape(box), by, strict=True))
    assert box_shape(grown) == expected


@given(boxes, boxes)
def test_slices_within_a_frame_mean_the_same_voxels(a: Box, b: Box) -> None:
    frame = bounding_box([a, b])
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    framed = volume[box_slices(frame)]
    np.testing.assert_array_equal(
        framed[slices_within(a, frame)], volume[box_slices(a)]
    )
    assert box_of_mask(voxels(a)[box_slices(frame)], frame) == a


@given(boxes, st.lists(boxes, max_size=3))
def test_hidden_boxes_leave_the_other_voxels(frame: Box, hidden: list[Box]) -> None:
    mask = np.ones(box_shape(frame), bool)
    hide_boxes(mask, frame, hidden)
    gone = np.logical_or.reduce([np.zeros(SHAPE, bool), *map(voxels, hidden)])
    np.testing.assert_array_equal(mask, ~gone[box_slices(frame)])


@given(boxes, st.tuples(*[st.integers(0, 3)] * 3))
def test_padding_puts_what_was_read_where_it_was(
    box: Box, by: tuple[int, int, int]
) -> None:
    volume = np.arange(1, 1 + np.prod(SHAPE)).reshape(1, *SHAPE)
    wide = grow_box(box, by)
    inner = clip_box(wide, SHAPE)
    padded = pad_to_box(volume[(0, *box_slices(inner))], inner, wide)
    around = np.pad(volume[0], 3)
    z, y, x = ((lo + 3, hi + 3) for lo, hi in wide)
    np.testing.assert_array_equal(padded, around[box_slices((z, y, x))])


def test_a_mask_of_nothing_has_no_box() -> None:
    assert box_of_mask(np.zeros(SHAPE, bool), whole_box(SHAPE)) is None


@given(boxes)
def test_a_box_comes_back_from_json(box: Box) -> None:
    assert box_from_json(json.loads(json.dumps(box))) == box


@pytest.mark.parametrize("stored", [[[0, 1], [0, 1]], [[0, 1, 2]] * 3, ["ab"] * 3])
def test_what_is_no_box_is_refused(stored: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        box_from_json(stored)
