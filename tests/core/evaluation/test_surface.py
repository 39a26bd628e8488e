"""Hausdorff distance and ASSD by hand and by laws; surfaces against MONAI's."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from e2miseg_core.evaluation import assd, hausdorff, hd95, nsd

SPACING = (2.5, 1.0, 1.3)


def blob(seed, shape=(14, 20, 17)):
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 2)
    return smooth > np.quantile(smooth, 0.85)


def test_two_single_voxels_by_hand():
    first, second = np.zeros((2, 5, 6, 7), dtype=bool)
    first[1, 1, 1] = second[2, 4, 5] = True
    apart = math.sqrt(2.5**2 + 3.0**2 + (4 * 1.3) ** 2)
    for distance in (hausdorff, hd95, assd):
        assert distance(first, second, SPACING) == pytest.approx(apart)


def test_a_line_that_is_too_long_by_hand():
    """Ten voxels of a row against its first eight: 0, ..., 0, 1, 2 mm, and eight 0."""
    first, second = np.zeros((2, 3, 3, 14), dtype=bool)
    first[1, 1, 2:12] = True
    second[1, 1, 2:10] = True
    assert assd(first, second, (1.0, 1.0, 1.0)) == pytest.approx(3 / 18)
    assert hausdorff(first, second, (1.0, 1.0, 1.0)) == pytest.approx(2.0)
    assert hd95(first, second, (1.0, 1.0, 1.0)) == pytest.approx(
        np.percentile([0] * 8 + [1, 2], 95)
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_plate_is_the_shift_away_by_every_distance(axis):
    start = [slice(2, 12)] * 3
    first, second = np.zeros((2, 15, 15, 15), dtype=bool)
    start[axis] = slice(3, 4)
    first[tuple(start)] = True
    start[axis] = slice(6, 7)
    second[tuple(start)] = True
    for distance in (hausdorff, hd95, assd):
        assert distance(first, second, SPACING) == pytest.approx(3 * SPACING[axis])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_laws_of_distances(seed):
    first, second = blob(seed), blob(seed + 20)
    double = tuple(2 * side for side in SPACING)
    for distance in (hausdorff, hd95, assd):
        value = distance(first, second, SPACING)
        assert distance(first, first, SPACING) == 0
        assert distance(second, first, SPACING) == pytest.approx(value)
        assert distance(first, second, double) == pytest.approx(2 * value)
        for axes in itertools.permutations(range(3)):
            turned = tuple(SPACING[one] for one in axes)
            pair = first.transpose(axes), second.transpose(axes)
            assert distance(*pair, turned) == pytest.approx(value)
    assert (
        assd(first, second, SPACING)
        <= hd95(first, second, SPACING)
        <= hausdorff(first, second, SPACING)
    )


def test_rule_for_empty_masks():
    empty = np.zeros((4, 6, 8), dtype=bool)
    full = empty.copy()
    full[1, 2, 3] = True
    for distance in (hausdorff, assd):
        assert distance(empty, empty, (3.0, 2.0, 0.5)) == 0
        for pair in ((empty, full), (full, empty)):
            far = distance(*pair, (3.0, 2.0, 0.5))
            assert far == pytest.approx(math.sqrt(144 + 144 + 16))


@pytest.mark.parametrize("seed", [3, 4])
def test_every_surface_figure_is_that_of_monai(seed):
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    first, second = blob(seed), blob(seed + 30)
    pair = [torch.from_numpy(mask)[None, None] for mask in (first, second)]
    same = {"include_background": True, "spacing": list(SPACING)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        far = compute_hausdorff_distance(*pair, **same)
        far95 = compute_hausdorff_distance(*pair, percentile=95, **same)
        mean = compute_average_surface_distance(*pair, symmetric=True, **same)
        share = compute_surface_dice(*pair, [1.4], use_subvoxels=True, **same)
    assert hausdorff(first, second, SPACING) == pytest.approx(float(far), rel=1e-5)
    assert hd95(first, second, SPACING) == pytest.approx(float(far95), rel=1e-5)
    assert assd(first, second, SPACING) == pytest.approx(float(mean), rel=1e-5)
    assert nsd(first, second, SPACING, 1.4) == pytest.approx(float(share), rel=1e-5)
