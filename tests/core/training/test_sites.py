"""Places that are known: found, divided, and never trained on where held out."""

import json
from dataclasses import asdict
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.boxes import Box, make_box
from e2miseg_core.errors import ConfigError
from e2miseg_core.progress import run
from e2miseg_core.training.sites import (
    Site,
    SiteSplit,
    hide_boxes,
    painted_boxes,
    split_sites,
)


def site(number: int, case: str = "a", verdict: str = "corrected") -> Site:
    return Site(
        case=case, box=make_box((10 * number, 0, 0), (9, 9, 9)), verdict=verdict
    )


def test_too_few_sites_are_told_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=r"4 corrected.*at least 6.*accept 2 more"):
        split_sites([site(i) for i in range(4)])


@given(st.integers(6, 60), st.randoms())
def test_a_quarter_is_held_out_and_never_less_than_two(
    count: int, random: Random
) -> None:
    sites = [site(i, f"case {i % 3}") for i in range(count)]
    split = split_sites(sites)
    assert len(split.held_out) == max(2, round(count / 4))
    assert sorted((*split.training, *split.held_out), key=str) == sorted(sites, key=str)
    random.shuffle(sites)
    assert split == split_sites(sites)


@given(st.permutations(range(30)), st.integers(6, 29))
def test_where_a_model_learnt_it_is_not_tested_and_the_other_way_round(
    order: list[int], first: int
) -> None:
    sites = [site(i) for i in order]
    earlier = split_sites(sites[:first])
    later = split_sites(sites, earlier)
    assert not set(earlier.training) & set(later.held_out)
    assert not set(earlier.held_out) & set(later.training)
    assert len(later.held_out) >= max(2, round(30 / 4) - 1)


def test_a_later_box_over_one_that_was_trained_on_is_trained_on() -> None:
    sites = [site(i) for i in range(40)]
    earlier = split_sites(sites)
    for other in earlier.training:
        z, y, x = other.box
        moved: Box = ((z[0] + 4, z[1] + 4), y, x)
        again = Site(case="a", box=moved, verdict="fine")
        assert again not in split_sites([*sites, again], earlier).held_out


def test_without_anything_new_there_still_is_a_test() -> None:
    sites = [site(i) for i in range(8)]
    split = split_sites(sites, SiteSplit(training=tuple(sites), held_out=()))
    assert len(split.held_out) == 2
    assert len(split.training) == 6


def test_sites_come_back_from_json() -> None:
    assert Site.from_json(json.loads(json.dumps(asdict(site(3))))) == site(3)


def test_painted_places_outside_reviewed_boxes_become_sites() -> None:
    authority = np.zeros((70, 40, 130), np.uint8)
    authority[66:69, 3:9, 100:110] = 1
    authority[5:9, 5:9, 5:9] = 1  # reviewed
    authority[20, 20, 20:30] = 1  # too little
    authority[40:60, 20:30, 20:30] = 2  # accepted, not painted
    reviewed = [make_box((5, 5, 5), (9, 9, 9))]
    found = run(painted_boxes(authority, 1, (1.0, 1.0, 1.0), reviewed))
    covered = np.zeros(authority.shape, bool)
    for (z0, z1), (y0, y1), (x0, x1) in found:
        covered[z0:z1, y0:y1, x0:x1] = True
        assert (authority[z0:z1, y0:y1, x0:x1] == 1).sum() >= 20
    assert covered[66:69, 3:9, 100:110].all()
    assert not covered[5:9, 5:9, 5:9].any()
    assert not covered[20, 20, 20:30].any()
    assert all(
        hi <= n for box in found for (_, hi), n in zip(box, (70, 40, 130), strict=True)
    )


def test_cells_are_thinner_where_voxels_are_thicker() -> None:
    authority = np.ones((16, 16, 16), np.uint8)
    boxes = run(painted_boxes(authority, 1, (4.0, 1.0, 1.0), []))
    assert len(boxes) == 4
    assert boxes[0] == ((0, 4), (0, 16), (0, 16))


def test_hiding_clears_exactly_the_boxes() -> None:
    place: Box = ((10, 20), (0, 10), (5, 15))
    mask = np.ones((10, 10, 10), bool)
    hide_boxes(mask, place, [((0, 12), (2, 4), (14, 30)), ((50, 60), (0, 1), (0, 1))])
    expected = np.ones((10, 10, 10), bool)
    expected[0:2, 2:4, 9:10] = False
    np.testing.assert_array_equal(mask, expected)
