"""Planning rules by hand-computed values, and laws that hold for any data."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.training.fingerprint import CaseFingerprint
from e2miseg_core.training.plan_rules import (
    batch_rule,
    coarse_axis,
    median_shape,
    needs_mask,
    patch_rule,
    slice_axis_rule,
    spacing_rule,
    stem_rule,
)


def case(
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int] = (40, 40, 40),
    cropped: tuple[int, int, int] | None = None,
) -> CaseFingerprint:
    z, y, x = cropped or shape
    return CaseFingerprint(
        name="case", shape=shape, spacing=spacing, box=((0, z), (0, y), (0, x))
    )


def test_the_spacing_is_the_median_of_the_cases() -> None:
    cases = [case((1, 1, 1)), case((2, 1.5, 1)), case((3, 1.25, 1))]
    assert spacing_rule(cases) == ((2.0, 1.25, 1.0), None)


def test_a_coarse_axis_of_few_voxels_takes_its_tenth_percentile() -> None:
    # Z of 5, 6, ..., 15 mm: median 10, 10th percentile 6.
    cases = [case((5.0 + n, 1.5, 1.4), (10, 200, 180)) for n in range(11)]
    assert spacing_rule(cases) == ((6.0, 1.5, 1.4), 0)
    # The same along X.
    cases = [case((1.5, 1.4, 5.0 + n), (200, 180, 10)) for n in range(11)]
    assert spacing_rule(cases) == ((1.5, 1.4, 6.0), 2)


def test_a_coarse_axis_gets_no_finer_than_the_others() -> None:
    cases = [case((1.0 + n, 1.5, 1.5), (10, 200, 200)) for n in range(11)]
    # Median 6, 10th percentile 2.
    assert spacing_rule(cases) == ((2.0, 1.5, 1.5), 0)
    cases = [case((0.5 + n, 1.6, 1.6), (10, 200, 200)) for n in range(11)]
    assert spacing_rule(cases) == ((1.6, 1.6, 1.6), 0)


def test_both_spacing_and_size_decide_what_is_anisotropic() -> None:
    # 10 mm against 1, but a third of the voxels of the shortest other axis or more.
    cases = [case((8.0 + n, 1, 1), (40, 120, 300)) for n in range(5)]
    assert spacing_rule(cases) == ((10.0, 1.0, 1.0), None)
    # Exactly three times as coarse is not more than three times.
    assert coarse_axis((3.0, 1.0, 1.0)) is None
    assert coarse_axis((3.1, 1.0, 1.0)) == 0
    assert coarse_axis((3.1, 1.0, 1.2)) is None


def test_the_median_shape_is_that_of_the_non_zero_boxes() -> None:
    cases = [
        case((2, 1, 1), (20, 50, 50), (10, 40, 30)),
        case((1, 1, 1), (20, 50, 50), (16, 44, 36)),
        case((4, 1, 2), (20, 50, 50), (8, 41, 20)),
    ]
    # At 2 x 1 x 1 mm: 10, 8 and 16 voxels along Z; 40, 44, 41; 30, 36, 40.
    assert median_shape(cases, (2.0, 1.0, 1.0)) == (10, 41, 36)


def test_the_mask_is_used_where_boxes_take_less_than_three_quarters() -> None:
    full, half = case((1, 1, 1)), case((1, 1, 1), (40, 40, 40), (20, 40, 40))
    edge = case((1, 1, 1), (40, 40, 40), (30, 40, 40))
    assert not needs_mask([full, full, half])
    assert needs_mask([full, half, half])
    assert not needs_mask([edge])


def test_the_stem_leaves_coarse_and_short_axes_alone() -> None:
    shape = (40, 40, 40)
    assert stem_rule((2, 2, 2), (1.0, 1.0, 1.0), shape) == (2, 2, 2)
    assert stem_rule((2, 2, 2), (2.0, 1.0, 1.0), shape) == (2, 2, 2)
    assert stem_rule((2, 2, 2), (2.1, 1.0, 1.0), shape) == (1, 2, 2)
    assert stem_rule((2, 4, 4), (1.0, 1.0, 5.0), shape) == (2, 4, 1)
    assert stem_rule((2, 2, 2), (1.0, 1.0, 1.0), (1, 512, 512)) == (1, 2, 2)


def test_slices_lie_across_the_coarsest_axis() -> None:
    assert slice_axis_rule(0, (1.0, 1.0, 1.0)) == 0
    assert slice_axis_rule(0, (1.0, 1.0, 1.9)) == 0
    assert slice_axis_rule(0, (1.0, 1.0, 2.1)) == 2


@pytest.mark.parametrize(
    ("shape", "spacing", "stride", "limit", "patch"),
    [
        # Rounded up: (40, 56, 40). Z and X lose a stride (40/36, 40/35 are the most),
        # then Y (56/50 against 32/36): 32 x 48 x 32 = 49,152.
        ((36, 50, 35), (1, 1, 1), (8, 8, 8), 49_152, (32, 48, 32)),
        # The whole of a small volume, and no more of it than that.
        ((12, 20, 22), (1, 1, 1), (2, 4, 4), 16_384, (12, 20, 24)),
        # A cube of 256^3 voxels at 1 x 0.5 x 0.5 mm has 161 x 323 x 323.
        ((400, 900, 900), (1, 0.5, 0.5), (1, 1, 1), 10**9, (161, 323, 323)),
        # Slices: rounded up to 128 x 128, and to 96 x 96, which is more of 90 than 96.
        ((100, 100), (1, 1), (32, 32), 4096, (64, 64)),
        ((96, 90), (1, 1), (32, 32), 6144, (96, 64)),
        # Nothing is left to take away.
        ((5, 5, 5), (1, 1, 1), (8, 8, 8), 10, (8, 8, 8)),
    ],
)
def test_patches_by_hand(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    stride: tuple[int, ...],
    limit: int,
    patch: tuple[int, ...],
) -> None:
    assert patch_rule(shape, spacing, stride, limit) == patch


sides = st.integers(1, 700)
strides = st.sampled_from([1, 2, 4, 8, 16, 32])
sizes = st.floats(0.1, 10)


@given(
    shape=st.tuples(sides, sides, sides),
    spacing=st.tuples(sizes, sizes, sizes),
    stride=st.tuples(strides, strides, strides),
    limit=st.integers(1, 10**6),
)
def test_a_patch_fits_network_memory_and_data(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    stride: tuple[int, int, int],
    limit: int,
) -> None:
    patch = patch_rule(shape, spacing, stride, limit)
    assert all(p % s == 0 for p, s in zip(patch, stride, strict=True))
    assert math.prod(patch) <= max(limit, math.prod(stride))
    for size, n, step in zip(patch, shape, stride, strict=True):
        assert step <= size < n + step  # not larger than the median volume needs
    # Nor smaller than need be: it shows the whole median volume, or as much of it as a
    # cube of 256^3 voxels does, or did not fit before the last stride was taken away.
    per_mm = [1 / s for s in spacing]
    cube = (256**3 / math.prod(per_mm)) ** (1 / 3)
    wanted = [min(n, round(cube * v)) for n, v in zip(shape, per_mm, strict=True)]
    whole = all(p >= n for p, n in zip(patch, wanted, strict=True))
    larger = [
        math.prod(patch) // p * (p + s) for p, s in zip(patch, stride, strict=True)
    ]
    assert whole or max(larger) > limit


@pytest.mark.parametrize(
    ("batch_size", "limit", "patch", "set_voxels", "batch"),
    [
        (2, 1000, (10, 10, 10), 10**9, 2),
        (2, 1000, (5, 10, 10), 10**9, 4),  # half the patch, twice as many
        (2, 1000, (5, 10, 10), 30_000, 3),  # 5 % of 30,000 voxels are 3 patches
        (2, 1000, (10, 10, 10), 1000, 2),  # but never fewer than 2
        (4, 1000, (10, 20, 10), 10**9, 2),
        (16, 65_536, (1, 256, 256), 10**9, 16),
    ],
)
def test_batches_by_hand(
    batch_size: int,
    limit: int,
    patch: tuple[int, int, int],
    set_voxels: int,
    batch: int,
) -> None:
    assert batch_rule(batch_size, limit, patch, set_voxels) == batch
