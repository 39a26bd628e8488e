"""Boxes taken block by block are those of the plain definition in memory."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2miseg_core.progress import run
from e2miseg_core.uncertainty import regions
from e2miseg_core.uncertainty.regions import (
    ENOUGH,
    UNITS,
    Region,
    box_size,
    propose_regions,
    to_units,
)


@dataclass
class InMemory:
    """A map of errors as a source of blocks that counts what is read."""

    errors: np.ndarray
    block_shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        self.reads: set[tuple[int, int, int]] = set()

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.errors.shape

    @property
    def occupied(self) -> set[tuple[int, int, int]]:
        numbers = itertools.product(
            *(
                range(-(-n // b))
                for n, b in zip(self.shape, self.block_shape, strict=True)
            )
        )
        return {number for number in numbers if self._part(number).any()}

    def block(self, index: tuple[int, int, int]) -> np.ndarray:
        self.reads.add(index)
        return self._part(index)

    def _part(self, index: tuple[int, int, int]) -> np.ndarray:
        return self.errors[
            tuple(
                slice(i * b, (i + 1) * b)
                for i, b in zip(index, self.block_shape, strict=True)
            )
        ]


def sums_round(errors: np.ndarray, half: tuple[int, ...]) -> np.ndarray:
    """The sum of the box round each voxel, by its definition."""
    padded = np.pad(errors.astype(np.int64), [(h, h) for h in half])
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, [2 * h + 1 for h in half]
    )
    return windows.sum(axis=(3, 4, 5))


def plain_greedy(
    errors: np.ndarray, size: tuple[int, int, int], limit: int, share: float
) -> list[Region]:
    left, half = errors.copy(), tuple(n // 2 for n in size)
    inner = tuple(n // 2 for n in half)
    found = []
    while len(found) < limit:
        sums, near = sums_round(left, half), sums_round(left, inner)
        order = np.lexsort((-near.ravel(), -sums.ravel()))  # stable: first voxel first
        best = order[0]
        units = int(sums.flat[best])
        least = min(share * errors.sum(dtype=np.int64), ENOUGH * UNITS)
        if units == 0 or units < least:
            break
        centre = tuple(int(n) for n in np.unravel_index(best, errors.shape))
        box = tuple(
            (max(0, c - h), min(n, c + h + 1))
            for c, h, n in zip(centre, half, errors.shape, strict=True)
        )
        left[tuple(slice(*bounds) for bounds in box)] = 0
        found.append(Region(centre=centre, box=box, units=units))
    return found


def proposed(
    source: InMemory, size: tuple[int, int, int], limit: int = 30, share: float = 0.01
) -> list[Region]:
    total = int(source.errors.sum(dtype=np.int64))
    return run(propose_regions(source, size, total, limit=limit, share=share))


sizes = st.tuples(*[st.integers(1, 12)] * 3)
odd = st.sampled_from([3, 5, 9])


@settings(max_examples=50, deadline=None)
@given(
    shape=sizes,
    block=st.tuples(*[st.integers(1, 9)] * 3),
    size=st.tuples(odd, odd, odd),
    levels=st.sampled_from([1, 3, UNITS]),
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    kept=st.sampled_from([1, 16]),
    seed=st.integers(0, 999),
)
def test_blocks_and_memory_agree(
    shape: tuple[int, int, int],
    block: tuple[int, int, int],
    size: tuple[int, int, int],
    levels: int,
    density: float,
    kept: int,
    seed: int,
) -> None:
    """Few levels make ties; blocks may be smaller than boxes."""
    rng = np.random.default_rng(seed)
    errors = rng.integers(1, levels + 1, shape) * (rng.random(shape) < density)
    errors = errors.astype(np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "SUMS_KEPT", kept)
        found = proposed(InMemory(errors, block), size, limit=12)
    assert found == plain_greedy(errors, size, limit=12, share=0.01)


def test_by_hand() -> None:
    errors = np.zeros((9, 9, 30), np.uint16)
    errors[4, 4, 5] = 100
    errors[4, 4, 15] = 60
    errors[4, 4, 17] = 50
    errors[4, 4, 28] = 1
    found = proposed(InMemory(errors, (4, 4, 4)), (5, 5, 5), share=0.01)
    assert [region.units for region in found] == [110, 100]  # 1 of 211 is below 1 %
    first, second = (region.box for region in found)
    assert first == ((1, 6), (1, 6), (14, 19))  # both in its inner 3 x 3 x 3
    assert second == ((1, 6), (1, 6), (2, 7))  # in the inner box, the first such


def test_what_a_box_holds_counts_no_more() -> None:
    errors = np.full((12, 12, 12), 7, np.uint16)
    found = proposed(InMemory(errors, (5, 5, 5)), (5, 5, 5), limit=200, share=0)
    assert sum(region.units for region in found) == errors.sum()
    taken = np.zeros(errors.shape, bool)
    for region in found:
        box = tuple(slice(*bounds) for bounds in region.box)
        assert region.units == 7 * (~taken[box]).sum()
        taken[box] = True
    assert taken.all()


def test_at_most_so_many_and_none_below_the_share() -> None:
    errors = np.random.default_rng(0).integers(0, 9, (20, 20, 20)).astype(np.uint16)
    source = InMemory(errors, (8, 8, 8))
    assert len(proposed(source, (3, 3, 3), limit=7, share=0)) == 7
    found = proposed(source, (5, 5, 5), limit=500, share=0.015)
    assert 0 < len(found) < 64
    assert min(region.units for region in found) >= 0.015 * errors.sum()


def test_a_model_that_is_unsure_of_everything_still_gets_its_worst_places() -> None:
    errors = np.full((45, 45, 45), UNITS // 2, np.uint16)  # no box holds 1 % of it
    found = proposed(InMemory(errors, (16, 16, 16)), (5, 5, 5), limit=12)
    assert [region.units for region in found] == [125 * (UNITS // 2)] * 12


def test_the_largest_boxes_are_added_up_without_overflow() -> None:
    errors = np.full((33, 33, 33), UNITS, np.uint16)
    (found,) = proposed(InMemory(errors, (16, 16, 16)), (33, 33, 33))
    assert found.units == UNITS * 33**3 > np.iinfo(np.int32).max


def test_blocks_without_errors_are_not_read() -> None:
    errors = np.zeros((40, 40, 40), np.uint16)
    errors[2, 2, 2] = errors[38, 20, 5] = 9
    source = InMemory(errors, (8, 8, 8))
    assert len(proposed(source, (9, 9, 9))) == 2
    assert source.reads == {(0, 0, 0), (4, 2, 0)}
    assert not proposed(InMemory(np.zeros((5, 5, 5), np.uint16), (4, 4, 4)), (3, 3, 3))


def test_boxes_are_about_cubes_in_the_world() -> None:
    assert box_size((1, 1, 1), 9) == (9, 9, 9)
    assert box_size((1, 1, 1), 5) == (5, 5, 5)
    assert box_size((2.5, 1, 1.2), 9) == (3, 9, 7)
    assert box_size((0.5, 0.5, 3), 9) == (9, 9, 3)  # 3 at least


def test_units_are_whole_and_close() -> None:
    error = np.linspace(0, 1, 777, dtype=np.float32)
    units = to_units(error)
    assert units[0] == 0
    assert units[-1] == UNITS
    np.testing.assert_allclose(units / UNITS, error, atol=0.5 / UNITS + 1e-7)
