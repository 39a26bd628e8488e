"""Places that are known are divided: to learn from, and to be tested on."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.boxes import Box, make_box
from e2miseg_core.errors import ConfigError
from e2miseg_core.project.sites import Site
from e2miseg_core.training.sites import SiteSplit, split_sites


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
