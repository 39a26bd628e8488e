"""Laws of tiles and blending."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from e2miseg_core.boxes import make_box, whole_box
from e2miseg_core.errors import ConfigError
from e2miseg_core.inference.blending import SlabBlender
from e2miseg_core.inference.engine import stream_probabilities
from e2miseg_core.inference.grids import SlabResampler
from e2miseg_core.inference.tiling import TileGrid, gaussian_axis, tile_starts
from e2miseg_core.preprocess import resample_box
from e2miseg_core.progress import run
from e2miseg_core.training.prepare import read_padded

sizes = st.integers(1, 17)
shapes = st.tuples(sizes, sizes, sizes)
overlaps = st.floats(0, 0.9)


class ArraySource:
    """A source of tiles in memory that remembers what was asked of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape = array.shape[1:]

    def read(self, box):
        return read_padded(self.array, box)


def stream(array: np.ndarray, patch: tuple[int, int, int], overlap: float, tile=None):
    grid = TileGrid(shape=array.shape[1:], patch_size=patch, overlap=overlap)
    slabs: list[tuple[int, np.ndarray]] = []
    job = stream_probabilities(
        tile or (lambda x: x),
        ArraySource(array),
        grid,
        array.shape[0],
        lambda first, slab: slabs.append((first, slab)),
    )
    steps = []
    run(job, steps.append)
    return slabs, steps, grid


@given(shape=shapes, patch=shapes, overlap=overlaps)
def test_blending_what_was_cut_gives_back_the_volume(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float
) -> None:
    array = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    slabs, steps, grid = stream(array, patch, overlap)
    joined = np.concatenate([slab for _, slab in slabs], axis=1)
    np.testing.assert_allclose(joined, array, rtol=1e-4, atol=1e-6)
    assert [first for first, _ in slabs] == np.cumsum(
        [0, *(slab.shape[1] for _, slab in slabs[:-1])]
    ).tolist()
    assert [step.done for step in steps] == list(range(1, grid.n_tiles + 1))


@given(shape=shapes, patch=shapes, overlap=overlaps)
def test_a_constant_network_gives_its_constant_everywhere(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float
) -> None:
    constant = np.array([0.2, 0.5, 0.3], np.float32).reshape(3, 1, 1, 1)
    array = np.zeros((3, *shape), np.float32)
    slabs, _, _ = stream(
        array, patch, overlap, lambda tile: np.broadcast_to(constant, tile.shape)
    )
    joined = np.concatenate([slab for _, slab in slabs], axis=1)
    assert joined.shape == array.shape
    np.testing.assert_allclose(
        joined, np.broadcast_to(constant, joined.shape), rtol=1e-4
    )


@given(size=st.integers(1, 200), patch=st.integers(1, 64), overlap=overlaps)
def test_tiles_cover_an_axis_evenly(size: int, patch: int, overlap: float) -> None:
    starts = tile_starts(size, patch, overlap)
    if patch >= size:
        assert len(starts) == 1
        assert starts[0] <= 0 <= size <= starts[0] + patch
        return
    assert starts[0] == 0
    assert starts[-1] + patch == size
    steps = np.diff(starts)
    assert (steps <= max(1, int(patch * (1 - overlap)))).all()
    assert steps.max(initial=0) - steps.min(initial=size) <= 1 or len(steps) == 0


def test_weights_are_those_of_the_specification() -> None:
    weight = gaussian_axis(16)
    assert weight.max() == 1
    np.testing.assert_allclose(weight, weight[::-1])
    # sigma = patch / 8 = 2: two voxels from a centre voxel the weight is exp(-1/2).
    odd = gaussian_axis(17)
    assert odd[8] == 1
    assert odd[8 + 2] == pytest.approx(np.exp(-0.5 * (2 / (17 / 8)) ** 2))


def test_total_weight_is_the_sum_over_all_tiles() -> None:
    grid = TileGrid(shape=(11, 9, 13), patch_size=(6, 12, 5), overlap=0.4)
    total = np.zeros((31, 29, 33))
    for _, starts in grid.layers():
        for z, y, x in starts:
            box = make_box((z + 10, y + 10, x + 10), grid.patch_size)
            total[tuple(slice(*b) for b in box)] += grid.tile_weight()
    z, y, x = (grid.axis_weight(axis) for axis in range(3))
    product = z[:, None, None] * y[:, None] * x
    np.testing.assert_allclose(product, total[10:21, 10:19, 10:23], rtol=1e-5)


def test_only_open_rows_are_held() -> None:
    grid = TileGrid(shape=(100, 8, 8), patch_size=(10, 8, 8), overlap=0.5)
    blender = SlabBlender(grid, 2)
    layers = grid.layers()
    for number, (_, starts) in enumerate(layers):
        for start in starts:
            blender.add(np.ones((2, *grid.patch_size), np.float32), start)
        assert blender._window.shape[1] <= 10
        if number + 1 < len(layers):
            blender.finish(layers[number + 1][0])


@given(source=shapes, target=shapes, cuts=st.lists(st.integers(1, 6), min_size=20))
def test_resampling_slabs_equals_resampling_the_whole(
    source: tuple[int, int, int], target: tuple[int, int, int], cuts: list[int]
) -> None:
    array = np.random.default_rng(1).random((2, *source), dtype=np.float32)
    resampler = SlabResampler(source, target)
    parts, row = [], 0
    for cut in cuts:
        if row >= source[0]:
            break
        first, part = resampler.push(array[:, row : row + cut])
        assert first == sum(p.shape[1] for p in parts)
        parts.append(part)
        row += cut
    if row < source[0]:
        parts.append(resampler.push(array[:, row:])[1])

    def read(box):
        return array[(slice(None), *(slice(*b) for b in box))]

    whole = resample_box(read, source, target, whole_box(target))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)


lengths = st.integers(1, 160)


@given(source=lengths, target=lengths, cuts=st.lists(st.integers(1, 40), min_size=160))
@example(source=18, target=62, cuts=[1] * 160)
@example(source=25, target=39, cuts=[1] * 160)
@example(source=75, target=117, cuts=[16, 16, 11, 32] + [1] * 160)
@example(source=76, target=28, cuts=[1] * 160)
@example(source=242, target=134, cuts=[1] * 260)
def test_rows_are_final_only_when_all_they_need_is_there(
    source: int, target: int, cuts: list[int]
) -> None:
    """Long axes, where two roundings of one bound may differ in a tie."""
    array = np.random.default_rng(2).random((1, source, 1, 1), dtype=np.float32)
    resampler = SlabResampler((source, 1, 1), (target, 1, 1))
    parts, row = [], 0
    for cut in cuts:
        if row < source:
            parts.append(resampler.push(array[:, row : row + cut])[1])
            row += cut

    def read(box):
        return array[(slice(None), *(slice(*b) for b in box))]

    whole = resample_box(
        read, (source, 1, 1), (target, 1, 1), whole_box((target, 1, 1))
    )
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)


def test_an_overlap_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="overlap of 1"):
        TileGrid(shape=(4, 4, 4), patch_size=(2, 2, 2), overlap=1)
