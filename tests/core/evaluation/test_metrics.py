"""Overlap and surface metrics, against values by hand and by brute force."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from e2miseg_core.errors import ConfigError, GeometryError
from e2miseg_core.evaluation import dice, hd95, nsd

SPACING = (2.5, 1.0, 1.3)
Mask = NDArray[np.bool_]


def box(shape, *sides) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(start, stop) for start, stop in sides)] = True
    return mask


def blob(seed: int, shape=(14, 20, 17)) -> Mask:
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 2)
    return smooth > np.quantile(smooth, 0.85)


def surface_voxels(mask: Mask) -> list[tuple[int, int, int]]:
    """Voxels of the mask with a face neighbour that is none, one at a time."""
    found = []
    for voxel in map(tuple, np.argwhere(mask).tolist()):
        for axis, step in itertools.product(range(3), (-1, 1)):
            neighbour = list(voxel)
            neighbour[axis] += step
            inside = 0 <= neighbour[axis] < mask.shape[axis]
            if not inside or not mask[tuple(neighbour)]:
                found.append(voxel)
                break
    return found


def brute_hd95(first: Mask, second: Mask, spacing) -> float:
    points = [np.array(surface_voxels(mask)) * spacing for mask in (first, second)]
    distances = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    return max(
        np.percentile(distances.min(axis=1), 95),
        np.percentile(distances.min(axis=0), 95),
    )


def box_surface(sides, spacing) -> list[tuple[tuple[float, ...], float]]:
    """Pieces (place in mm, area in mm2) of a box of voxels, its edges bevelled.

    A piece sits at a corner of the voxel grid; a flat one has the area of a voxel's
    face, one at an edge or a vertex is the cut through the middles of the grid lines.
    """
    a, b, c = spacing
    flat = {0: b * c, 1: a * c, 2: a * b}
    edge = {
        0: a * math.hypot(b, c) / 2,
        1: b * math.hypot(a, c) / 2,
        2: c * math.hypot(a, b) / 2,
    }
    vertex = math.sqrt((a * b) ** 2 + (b * c) ** 2 + (a * c) ** 2) / 8
    pieces = []
    for corner in itertools.product(*(range(lo, hi + 1) for lo, hi in sides)):
        ends = [i for i in range(3) if corner[i] in sides[i]]
        inner = [i for i in range(3) if i not in ends]
        if not ends:
            continue
        area = {1: lambda e=ends: flat[e[0]], 2: lambda i=inner: edge[i[0]]}.get(
            len(ends), lambda: vertex
        )()
        pieces.append(
            (tuple(n * s for n, s in zip(corner, spacing, strict=True)), area)
        )
    return pieces


def brute_box_nsd(first, second, spacing, tolerance: float) -> float:
    surfaces = [box_surface(sides, spacing) for sides in (first, second)]
    places = [np.array([place for place, _ in surface]) for surface in surfaces]
    areas = [np.array([area for _, area in surface]) for surface in surfaces]
    distances = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
    distances -= 1e-6  # a distance equal to the tolerance agrees, whatever the rounding
    near = (distances.min(axis=1) <= tolerance, distances.min(axis=0) <= tolerance)
    agree = areas[0][near[0]].sum() + areas[1][near[1]].sum()
    return float(agree / (areas[0].sum() + areas[1].sum()))


def test_dice_of_boxes_by_hand():
    first = box((8, 8, 8), (1, 5), (1, 5), (1, 5))  # 64 voxels
    second = box((8, 8, 8), (3, 7), (1, 5), (1, 5))  # 64, of which 32 are shared
    assert dice(first, second) == 0.5
    assert dice(first, first) == 1.0
    assert dice(first, ~first) == 0.0


@pytest.mark.parametrize(
    ("axis", "shift"), [(0, 1), (0, 3), (1, 1), (1, 4), (2, 2), (2, 5)]
)
def test_a_shifted_plate_has_the_shift_as_hd95(axis, shift):
    """A plate one voxel thick: each of its voxels is `shift` voxels from the other."""
    start = [(2, 12)] * 3
    start[axis] = (3, 4)
    end = list(start)
    end[axis] = (3 + shift, 4 + shift)
    first, second = box((15,) * 3, *start), box((15,) * 3, *end)
    assert hd95(first, second, SPACING) == pytest.approx(shift * SPACING[axis])


def test_hd95_of_a_line_with_outliers_by_hand():
    """Distances 0 (90 voxels) and 1 to 10 mm (10): their 95th percentile is 5.05 mm."""
    first, second = np.zeros((2, 3, 3, 120), dtype=bool)
    first[1, 1, 5:105] = True
    second[1, 1, 5:95] = True
    distances = [0.0] * 90 + [float(i) for i in range(1, 11)]
    expected = float(np.percentile(distances, 95))
    assert expected == pytest.approx(5.05)
    assert hd95(first, second, (2.0, 1.5, 1.0)) == pytest.approx(expected)


def test_hd95_is_the_larger_direction_not_the_pooled_percentile():
    """A spur of 10 voxels on a line of 30 shows from one side only."""
    first, second = np.zeros((2, 1, 1, 60), dtype=bool)
    first[0, 0, 10:40] = True
    second[0, 0, 10:50] = True
    outside = [0.0] * 30 + [float(i) for i in range(1, 11)]
    assert hd95(first, second, (1.0, 1.0, 1.0)) == pytest.approx(
        np.percentile(outside, 95)
    )
    assert np.percentile(outside, 95) > np.percentile([0.0] * 30 + outside, 95)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hd95_equals_brute_force(seed):
    first, second = blob(2 * seed), blob(2 * seed + 1)
    expected = brute_hd95(first, second, SPACING)
    assert hd95(first, second, SPACING) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("tolerance", [0.0, 0.9, 1.0, 1.3, 2.5, 3.0, 5.0, 20.0])
def test_nsd_of_boxes_equals_brute_force(tolerance):
    sides = [(3, 9), (2, 9), (4, 12)], [(4, 9), (2, 12), (3, 10)]
    first, second = (box((14, 16, 15), *side) for side in sides)
    expected = brute_box_nsd(*sides, SPACING, tolerance)
    assert nsd(first, second, SPACING, tolerance) == pytest.approx(expected, abs=1e-6)


def test_nsd_steps_at_the_shift_of_a_plane():
    """Two blocks whose far faces are 2 voxels (5 mm) apart, all else shared."""
    first = box((12, 40, 40), (1, 6), (2, 38), (2, 38))
    second = box((12, 40, 40), (1, 8), (2, 38), (2, 38))
    below = nsd(first, second, SPACING, 4.99)
    assert below < 0.8
    assert nsd(first, second, SPACING, 5.0) == 1.0


@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_are_symmetric_and_do_not_depend_on_the_order_of_axes(seed):
    first, second = blob(seed), blob(seed + 10)
    expected = [dice(first, second), hd95(first, second, SPACING)]
    expected.append(nsd(first, second, SPACING, 1.5))

    def all_three(a, b, spacing):
        return [dice(a, b), hd95(a, b, spacing), nsd(a, b, spacing, 1.5)]

    assert all_three(second, first, SPACING) == pytest.approx(expected, abs=1e-5)
    for axes in itertools.permutations(range(3)):
        turned = tuple(SPACING[axis] for axis in axes)
        found = all_three(first.transpose(axes), second.transpose(axes), turned)
        assert found == pytest.approx(expected, abs=1e-5)
    for axes in ((0,), (1,), (2,), (0, 1, 2)):
        found = all_three(np.flip(first, axes), np.flip(second, axes), SPACING)
        assert found == pytest.approx(expected, abs=1e-5)


def test_metrics_do_not_depend_on_how_much_background_there_is():
    first, second = blob(3), blob(4)
    wide = [np.pad(mask, ((3, 1), (0, 5), (2, 2))) for mask in (first, second)]
    assert hd95(*wide, SPACING) == hd95(first, second, SPACING)
    assert nsd(*wide, SPACING, 1.0) == nsd(first, second, SPACING, 1.0)
    assert dice(*wide) == dice(first, second)


def test_hd95_scales_with_the_spacing_and_nsd_with_spacing_and_tolerance():
    first, second = blob(5), blob(6)
    double = tuple(2 * s for s in SPACING)
    assert hd95(first, second, double) == pytest.approx(
        2 * hd95(first, second, SPACING)
    )
    assert nsd(first, second, double, 3.0) == pytest.approx(
        nsd(first, second, SPACING, 1.5)
    )


def test_nsd_grows_with_the_tolerance():
    first, second = blob(7), blob(8)
    shares = [nsd(first, second, SPACING, t) for t in (0.0, 0.5, 1.0, 2.0, 5.0, 100.0)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_mask_agrees_with_itself():
    mask = blob(9)
    assert dice(mask, mask) == 1.0
    assert hd95(mask, mask, SPACING) == 0.0
    assert nsd(mask, mask, SPACING, 0.0) == 1.0


def test_rule_for_empty_masks():
    empty = np.zeros((4, 6, 8), dtype=bool)
    full = box((4, 6, 8), (1, 3), (2, 4), (2, 4))
    spacing = (3.0, 2.0, 0.5)  # the image measures 12 x 12 x 4 mm
    assert (dice(empty, empty), nsd(empty, empty, spacing, 1.0)) == (1.0, 1.0)
    assert hd95(empty, empty, spacing) == 0.0
    for pair in ((empty, full), (full, empty)):
        assert (dice(*pair), nsd(*pair, spacing, 1.0)) == (0.0, 0.0)
        assert hd95(*pair, spacing) == pytest.approx(math.sqrt(144 + 144 + 16))


def test_wrong_arguments_are_told():
    mask = blob(0)
    with pytest.raises(GeometryError, match=r"\(14, 20, 17\) and \(14, 20, 16\)"):
        dice(mask, mask[..., 1:])
    with pytest.raises(GeometryError, match="spacing"):
        hd95(mask, mask, (1.0, 0.0, 1.0))
    with pytest.raises(ConfigError, match="-1"):
        nsd(mask, mask, SPACING, -1.0)
