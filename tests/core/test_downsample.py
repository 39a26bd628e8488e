import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.downsample import coarse_shape, level_steps, mean, most_frequent

STEPS = [(2, 2, 2), (1, 2, 2), (2, 1, 2), (1, 1, 2), (1, 1, 1)]
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
sizes = st.integers(1, 5)


def blocks(array, step):
    """Voxels of each block that there are, one block at a time."""
    for index in np.ndindex(coarse_shape(array.shape, step)):
        where = tuple(
            slice(at * by, (at + 1) * by) for at, by in zip(index, step, strict=True)
        )
        yield index, array[where]


@given(
    shape=st.tuples(sizes, sizes, sizes),
    step=st.sampled_from(STEPS),
    dtype=st.sampled_from(DTYPES),
    value=st.integers(0, 127),
)
def test_of_a_constant_is_the_constant(shape, step, dtype, value):
    constant = np.full(shape, value, dtype)
    for coarse in (mean(constant, step), most_frequent(constant, step)):
        assert coarse.shape == coarse_shape(shape, step)
        assert coarse.dtype == constant.dtype
        assert (coarse == value).all()


@given(
    shape=st.tuples(sizes, sizes, sizes),
    step=st.sampled_from(STEPS),
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]),
    seed=st.integers(0, 999),
)
def test_mean_of_whole_numbers_is_exact_with_ties_to_even(shape, step, dtype, seed):
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    edge = seed % 2  # near the ends of the type sums would not fit into it
    low, high = (limits.max - 6, limits.max) if edge else (limits.min, limits.min + 6)
    image = rng.integers(low, high, shape, dtype=dtype, endpoint=True)
    coarse = mean(image, step)
    for index, block in blocks(image, step):
        # A block at an odd end has fewer voxels; Python's numbers have no end.
        values = [int(value) for value in block.ravel()]
        total, count = sum(values), len(values)
        whole, rest = divmod(total, count)
        up = 2 * rest > count or (2 * rest == count and whole % 2 == 1)
        assert int(coarse[index]) == whole + up


@given(step=st.sampled_from(STEPS), seed=st.integers(0, 99))
def test_mean_of_even_shapes_keeps_the_mean(step, seed):
    image = np.random.default_rng(seed).normal(size=(4, 6, 8))
    np.testing.assert_allclose(mean(image, step).mean(), image.mean(), atol=1e-14)


def test_voxels_that_are_no_number_are_left_out():
    image = np.array([[[1, np.nan, np.nan, np.nan, np.inf]]], np.float32)
    assert mean(image, (2, 2, 2)).dtype == np.float32
    np.testing.assert_array_equal(mean(image, (1, 1, 2)), [[[1, np.nan, np.inf]]])


def test_most_frequent_by_hand():
    labels = np.zeros((2, 2, 6), np.uint16)
    labels[0, :, 0:2] = 300  # four of eight: the larger label
    labels[0, 0, 2:4] = 300  # two of eight
    labels[:, :, 4] = [[7, 7], [7, 1]]
    labels[:, :, 5] = [[2, 2], [2, 2]]
    assert most_frequent(labels, (2, 2, 2)).tolist() == [[[300, 0, 2]]]
    weights = np.ones(labels.shape, np.uint8)
    weights[0, 0, 2] = 17
    assert most_frequent(labels, (2, 2, 2), weights).tolist() == [[[300, 300, 2]]]


@given(
    shape=st.tuples(sizes, sizes, sizes),
    step=st.sampled_from(STEPS),
    seed=st.integers(0, 999),
)
def test_most_frequent_wins_in_every_block(shape, step, seed):
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    coarse = most_frequent(labels, step)
    for index, block in blocks(labels, step):
        counts = np.bincount(block.ravel(), minlength=4)
        assert coarse[index] == max(range(4), key=lambda label: (counts[label], label))


@pytest.mark.parametrize(
    ("shape", "spacing", "n_levels", "steps"),
    [
        ((256, 256, 256), (1, 1, 1), None, []),
        ((257, 10, 10), (1, 1, 1), None, [(2, 2, 2)]),
        # Planes 5 mm apart wait until the voxels in them are as large.
        ((40, 512, 512), (5, 0.7, 0.7), None, [(1, 2, 2)]),
        ((100, 2048, 2048), (3, 1, 1), None, [(1, 2, 2), (2, 2, 2), (2, 2, 2)]),
        ((600, 600, 600), (1.5, 1, 1.4), None, [(2, 2, 2), (2, 2, 2)]),
        # One plane has no spacing to be halved.
        ((1, 1024, 1024), (0.1, 1, 1), None, [(1, 2, 2), (1, 2, 2)]),
        ((1000, 1000, 1000), (1, 1, 1), 2, [(2, 2, 2)]),
        ((1, 2, 4), (1, 1, 1), 9, [(1, 2, 2), (1, 1, 2)]),
        ((1000, 1000, 1000), (1, 1, 1), 1, []),
    ],
)
def test_levels_halve_the_axes_that_are_as_fine_as_the_finest(
    shape, spacing, n_levels, steps
):
    assert list(level_steps(shape, spacing, n_levels)) == steps
