"""The phantoms: deterministic, lopsided, true to their formulas, and hard in places."""

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from e2miseg_core.errors import ConfigError
from e2miseg_core.samples import generate_phantom
from e2miseg_core.samples.lesions import draw_diameters, draw_lesion, with_core

SMALL = (20, 48, 40)


@pytest.fixture(scope="module")
def phantom():
    return generate_phantom(3)


@pytest.fixture(scope="module")
def small():
    return generate_phantom(5, SMALL)


def body_points(phantom):
    """Voxel centres in mm (superior, posterior, left) from the middle of the grid."""
    geometry = phantom.geometry
    index = np.moveaxis(np.indices(geometry.shape), 0, -1)
    middle = (np.array(geometry.shape) - 1) / 2
    world = geometry.world(index) - geometry.world(middle)  # (Z, Y, X, 3), RAS
    return np.stack([world[..., 2], -world[..., 1], -world[..., 0]])


def test_the_same_seed_gives_the_same_voxels(small):
    again = generate_phantom(5, SMALL)
    np.testing.assert_array_equal(small.image, again.image)
    np.testing.assert_array_equal(small.labels, again.labels)
    np.testing.assert_array_equal(small.geometry.affine, again.geometry.affine)
    other = generate_phantom(6, SMALL)
    assert (small.image != other.image).mean() > 0.5
    assert not np.allclose(small.geometry.affine, other.geometry.affine)


def test_the_grid_is_anisotropic_oblique_and_canonical(phantom):
    geometry = phantom.geometry
    assert phantom.image.shape == phantom.labels.shape == geometry.shape == (48, 96, 80)
    assert (phantom.image.dtype, phantom.labels.dtype) == (np.int16, np.uint8)
    for found, usual in zip(geometry.spacing, (2.5, 1.0, 1.2), strict=True):
        assert 0.9 * usual <= found <= 1.1 * usual
    assert geometry.is_oblique
    assert geometry.orientation == "SPL"
    directions = geometry.affine[:3, :3] / geometry.spacing
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)


def test_it_looks_different_under_any_flip_or_swap_of_axes():
    image = generate_phantom(4, (40, 40, 40), spacing=(2.0, 2.0, 2.0)).image.astype(
        float
    )
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            steps = tuple(slice(None, None, flip) for flip in flips)
            turned = image.transpose(axes)[steps]
            likeness = np.corrcoef(image.ravel(), turned.ravel())[0, 1]
            same = axes == (0, 1, 2) and flips == (1, 1, 1)
            assert same or likeness < 0.9, (axes, flips)


def test_a_voxel_is_lesion_where_its_centre_lies_inside_a_formula(phantom):
    points = body_points(phantom)
    inside = np.zeros(phantom.labels.shape, dtype=bool)
    for lesion in phantom.lesions:
        inside |= lesion(points) < 0
    np.testing.assert_array_equal(phantom.labels == 1, inside)


def test_lesions_have_the_volume_of_their_diameter(phantom):
    for lesion in phantom.lesions:
        axis = np.linspace(-1.5, 1.5, 90) * lesion.diameter
        points = np.stack(
            np.meshgrid(*(axis + c for c in lesion.centre), indexing="ij")
        )
        volume = (lesion(points) < 0).sum() * (axis[1] - axis[0]) ** 3
        assert volume == pytest.approx(math.pi / 6 * lesion.diameter**3, rel=0.03)


def test_lesions_of_2_and_of_40_mm_can_be_had():
    rng = np.random.default_rng(0)
    diameters = np.concatenate([draw_diameters(rng, 6, 40.0) for _ in range(300)])
    assert 2.0 <= diameters.min() < 2.05
    assert 38.0 < diameters.max() <= 40.0
    # On a large field of view they are placed, too.
    large = generate_phantom(1, (40, 64, 64), spacing=(4.0, 2.0, 2.0), n_lesions=9)
    sizes = [lesion.diameter for lesion in large.lesions]
    assert max(sizes) > 30.0
    assert min(sizes) < 3.0


def test_the_largest_lesion_can_be_limited():
    phantom = generate_phantom(2, SMALL, largest_mm=5.0)
    assert all(2.0 <= lesion.diameter <= 5.0 for lesion in phantom.lesions)


def test_lesions_are_irregular_and_lie_inside_the_volume(phantom):
    lesion = phantom.lesions[0]
    ball = np.linalg.norm(
        np.argwhere(phantom.labels) @ np.diag(phantom.geometry.spacing)
        - np.argwhere(phantom.labels).mean(axis=0) * phantom.geometry.spacing,
        axis=1,
    )
    assert ball.max() > 0.55 * lesion.diameter
    rim = np.ones(phantom.labels.shape, dtype=bool)
    rim[1:-1, 1:-1, 1:-1] = False
    assert not (phantom.labels[rim]).any()


def test_the_anatomy_does_not_depend_on_the_grid():
    """Half the spacing in one field of view: the same lesions and the same picture."""
    shape, spacing = (16, 40, 32), (5.0, 2.0, 2.4)
    coarse = generate_phantom(7, shape, spacing=spacing, noise=0.0)
    double = tuple(2 * n for n in shape)
    half = tuple(s / 2 for s in spacing)
    fine = generate_phantom(7, double, spacing=half, noise=0.0)
    np.testing.assert_allclose(
        coarse.geometry.corners().mean(axis=0), fine.geometry.corners().mean(axis=0)
    )
    parts = fine.image.reshape(16, 2, 40, 2, 32, 2).mean(axis=(1, 3, 5))
    # The bias field is laid on each grid from rim to rim, whence not quite equal.
    assert np.corrcoef(parts.ravel(), coarse.image.ravel())[0, 1] > 0.995
    volumes = [p.labels.sum() * math.prod(p.geometry.spacing) for p in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)


def test_image_voxels_are_means_over_their_volume():
    """The noise-free border of the body holds values between air and fat."""
    clean = generate_phantom(8, SMALL, noise=0.0).image
    air, fat = clean[0, 0, 0], np.percentile(clean, 97)
    between = (clean > air + 0.2 * (fat - air)) & (clean < air + 0.8 * (fat - air))
    rim = ndimage.binary_dilation(clean < 1.5 * air) & ~(clean < 1.5 * air)
    assert between[rim].mean() > 0.3


def test_noise_is_rician(small):
    """In air the mean of Rician noise is sigma * sqrt(pi / 2): 400 * 0.045 * 1.2533."""
    still = generate_phantom(5, SMALL, noise=0.0).image
    air = still < 10
    assert air.mean() > 0.1
    values = small.image[air].astype(float)
    sigma = 400 * 0.045
    # The air itself is not quite dark (0.02 of full scale), which adds a little.
    level = 400 * 0.02
    expected = math.sqrt(math.pi / 2) * sigma * (1 + (level / sigma) ** 2 / 4)
    assert values.mean() == pytest.approx(expected, rel=0.02)
    assert values.min() >= 0


def test_contrast_fades_in_places_and_goes_beyond_in_others():
    rng = np.random.default_rng(1)
    lesions = [draw_lesion(rng, np.zeros(3), 20.0) for _ in range(30)]
    faded = [lesion for lesion in lesions if lesion.fade > 0]
    spread = [lesion for lesion in lesions if lesion.halo > 0]
    assert 10 <= len(faded) < 30
    assert 10 <= len(spread) < 30
    axis = np.linspace(-18, 18, 45)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    for lesion in [one for one in faded if one.halo == 0][:3]:
        deep = lesion(points) < -1.5
        opacity = lesion.opacity(points)[deep]
        assert opacity.max() > 0.9
        assert opacity.min() < 1.1 - lesion.fade
    for lesion in spread[:3]:
        beyond = lesion(points) > 1.0
        assert lesion.opacity(points)[beyond].max() > 0.3 * lesion.halo


def test_brightness_alone_does_not_find_the_lesions(phantom):
    """Look-alikes and faint borders: the best threshold reaches a low Dice."""
    truth = phantom.labels == 1
    smooth = ndimage.gaussian_filter(phantom.image.astype(float), (0.5, 1, 1))
    best = 0.0
    for low in range(150, 320, 10):
        for high in range(low + 40, 420, 20):
            found = (smooth > low) & (smooth < high)
            best = max(best, 2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert best < 0.6
    ring = ndimage.binary_dilation(truth, iterations=3) & ~truth
    assert phantom.image[truth].mean() > phantom.image[ring].mean() + 10


@pytest.fixture(scope="module")
def ringed():
    return generate_phantom(3, lesion_kind="ringed", noise=0.0)


def test_of_one_seed_both_kinds_differ_inside_lesions_alone(phantom, ringed):
    bright = generate_phantom(3, noise=0.0)
    np.testing.assert_array_equal(ringed.labels, phantom.labels)
    np.testing.assert_array_equal(ringed.geometry.affine, phantom.geometry.affine)
    inside = ringed.labels == 1
    np.testing.assert_array_equal(ringed.image[~inside], bright.image[~inside])
    darker = ringed.image < bright.image
    assert 0.05 < darker[inside].mean() < 0.6
    assert (ringed.image <= bright.image)[inside].mean() > 0.99


def test_a_ringed_lesion_is_dark_inside_a_bright_rim(ringed):
    points = body_points(ringed)
    lesion = ringed.lesions[0]
    depth, core = -lesion(points), lesion.core_share(points)
    rim = (depth > 0.5) & (core == 0) & (lesion.opacity(points) > 0.9)
    inside = (core == 1) & (lesion.opacity(points) > 0.9)
    assert min(rim.sum(), inside.sum()) > 50
    # Values of the formulas: 400 is full scale, the bias field shifts by up to half.
    assert ringed.image[inside].mean() < 0.65 * ringed.image[rim].mean()
    assert depth[core > 0].min() > 0
    assert (ringed.labels[core > 0] == 1).all()


def test_a_core_leaves_a_rim_on_all_sides_and_none_is_in_small_lesions():
    rng = np.random.default_rng(2)
    small = draw_lesion(rng, np.zeros(3), 5.0)
    assert with_core(rng, small) is small
    assert not small.core_share(np.zeros((3, 4))).any()
    axis = np.linspace(-16, 16, 49)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    for _ in range(10):
        lesion = with_core(rng, draw_lesion(rng, np.zeros(3), 18.0))
        share = lesion.core_share(points)
        part = (share > 0.5).sum() / (lesion(points) < 0).sum()
        assert 0.02 < part < 0.6
        least = 0.7 * lesion.core.rim - lesion.core.edge / 2
        assert least > 0.5
        assert (lesion(points)[share > 0] <= -least).all()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"seed": -1}, "seed -1"),
        ({"shape": (4, 48, 40)}, "shape"),
        ({"spacing": (1.0, 0.0, 1.0)}, "spacing"),
        ({"largest_mm": 60.0}, "60"),
        ({"lesion_kind": "striped"}, "'striped'.*bright, ringed"),
    ],
)
def test_wrong_arguments_are_told(arguments, word):
    with pytest.raises(ConfigError, match=word):
        generate_phantom(**{"seed": 0, **arguments})
