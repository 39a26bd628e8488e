import itertools
import subprocess
import sys

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import GeometryError
from e2miseg_core.geometry import (
    AxisTransform,
    Geometry,
    canonical_transform,
    orientation_in_words,
)
from e2miseg_core.volume import Volume

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 7)
shapes = st.tuples(sizes, sizes, sizes)
transforms = st.builds(
    AxisTransform,
    permutation=st.permutations([0, 1, 2]).map(tuple),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)


def world_of_every_voxel(geometry):
    """Array (3, Z, Y, X) of world coordinates."""
    index = np.moveaxis(np.indices(geometry.shape), 0, -1)
    return np.moveaxis(geometry.world(index), -1, 0)


def test_world_and_voxel_by_hand():
    affine = [[0, 0, -2, 10], [0, -3, 0, 20], [5, 0, 0, 30], [0, 0, 0, 1]]
    geometry = Geometry(shape=(4, 5, 6), affine=np.array(affine))
    assert geometry.spacing == (5, 3, 2)
    np.testing.assert_array_equal(geometry.world((1, 2, 3)), [4, 14, 35])
    np.testing.assert_allclose(geometry.voxel((4, 14, 35)), [1, 2, 3])
    assert geometry.orientation == "SPL"
    assert not geometry.is_oblique


def test_from_spacing_is_canonical():
    geometry = Geometry.from_spacing((4, 5, 6), (5, 3, 2))
    np.testing.assert_array_equal(geometry.world((1, 1, 1)), [-2, -3, 5])
    assert canonical_transform(geometry).is_identity


def test_from_xyz_maps_the_same_voxels():
    affine = np.array([[2, 0.1, 0, 1], [0, 3, 0.2, 2], [0, 0, 4, 3], [0, 0, 0, 1]])
    geometry = Geometry.from_xyz((7, 8, 9), affine)
    assert geometry.shape == (9, 8, 7)
    x, y, z = 1, 2, 5
    expected = (affine @ [x, y, z, 1])[:3]
    np.testing.assert_allclose(geometry.world((z, y, x)), expected)
    np.testing.assert_array_equal(geometry.affine_xyz, affine)


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_orientation_agrees_with_nibabel(permutation, signs):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[list(permutation)] * signs
    geometry = Geometry.from_xyz((3, 4, 5), affine)
    assert geometry.orientation == "".join(nib.aff2axcodes(affine))[::-1]


@given(shape=shapes, seed=seeds)
def test_canonical_transform_moves_no_voxel(make_geometry, shape, seed):
    geometry = make_geometry(seed, shape)
    transform = canonical_transform(geometry)
    canonical = transform.apply_geometry(geometry)
    np.testing.assert_allclose(
        transform.apply(world_of_every_voxel(geometry)),
        world_of_every_voxel(canonical),
        atol=1e-9,
    )
    assert canonical.orientation == "SPL"
    assert canonical_transform(canonical).is_identity


@given(transform=transforms, shape=shapes)
def test_inverse_undoes_a_transform(transform, shape):
    array = np.arange(2 * np.prod(shape)).reshape(2, *shape)
    turned = transform.apply(array)
    assert turned.shape[1:] == transform.apply_shape(shape)
    assert np.shares_memory(turned, array)  # a view, never a copy
    np.testing.assert_array_equal(transform.inverse().apply(turned), array)
    np.testing.assert_array_equal(transform.apply(da.from_array(array)), turned)
    geometry = Geometry.from_spacing(shape, (3, 2, 1))
    back = transform.inverse().apply_geometry(transform.apply_geometry(geometry))
    assert back.matches(geometry, tolerance=1e-12)


def test_apply_by_hand():
    transform = AxisTransform(permutation=(1, 0, 2), flips=(False, True, False))
    array = np.array([[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]])
    expected = [[[6, 7], [0, 1]], [[8, 9], [2, 3]], [[10, 11], [4, 5]]]
    np.testing.assert_array_equal(transform.apply(array), expected)


def test_a_tie_keeps_the_axes_in_their_order():
    half = np.sqrt(0.5)
    affine = np.eye(4)
    affine[:3, :3] = [[0, half, -half], [0, -half, -half], [1, 0, 0]]
    nudged = affine.copy()
    nudged[:3, :3] *= 1 + 1e-13 * np.arange(9).reshape(3, 3)
    for each in (affine, nudged):
        geometry = Geometry(shape=(3, 3, 3), affine=each)
        assert canonical_transform(geometry).permutation == (0, 1, 2)


def test_a_sheared_axis_does_not_take_anothers_place():
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, -1], [0, -1, 0], [1, 3, 0]]  # Y leans far to superior
    geometry = Geometry(shape=(3, 4, 5), affine=affine)
    assert sorted(canonical_transform(geometry).permutation) == [0, 1, 2]
    assert sorted(geometry.orientation) == sorted("SPL")


@given(shape=shapes, seed=seeds, factors=st.tuples(*[st.floats(0.3, 3)] * 3))
def test_resampling_keeps_the_outer_edges(make_geometry, shape, seed, factors):
    geometry = make_geometry(seed, shape)
    resampled = geometry.resampled(np.array(geometry.spacing) * factors)
    for old, new in (
        ((-0.5, -0.5, -0.5), (-0.5, -0.5, -0.5)),
        (np.array(shape) - 0.5, np.array(resampled.shape) - 0.5),
    ):
        np.testing.assert_allclose(geometry.world(old), resampled.world(new), atol=1e-8)
    extent = np.array(shape) * geometry.spacing
    np.testing.assert_allclose(np.array(resampled.shape) * resampled.spacing, extent)


def test_resampling_by_hand():
    geometry = Geometry.from_spacing((10, 6, 3), (1, 2, 4))
    resampled = geometry.resampled((2, 2, 1))
    assert resampled.shape == (5, 6, 12)
    np.testing.assert_allclose(resampled.spacing, (2, 2, 1))
    np.testing.assert_allclose(resampled.world((0, 0, 0)), [1.5, 0, 0.5])
    uneven = geometry.resampled((3, 2, 4))  # 10 mm are no multiple of 3 mm
    assert uneven.shape == (3, 6, 3)
    np.testing.assert_allclose(uneven.spacing, (10 / 3, 2, 4))


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, 1), (1, np.nan, 1), (1, -1, 1)])
def test_resampling_refuses_bad_spacing(spacing):
    with pytest.raises(GeometryError, match="target spacing"):
        Geometry.from_spacing((2, 2, 2), (1, 1, 1)).resampled(spacing)


@given(shape=shapes, seed=seeds)
def test_json_restores_every_bit(make_geometry, shape, seed):
    geometry = make_geometry(seed, shape)
    restored = Geometry.from_json(geometry.to_json())
    assert restored.shape == geometry.shape
    assert restored.unit == geometry.unit
    np.testing.assert_array_equal(restored.affine, geometry.affine)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"more": 1},
        {"shape": [1, 2]},
        {"affine": [[1, 2], [3]]},
        {"affine": "no"},
        {"unit": "inch"},
    ],
)
def test_json_that_is_not_understood_is_refused(change):
    stored = Geometry.from_spacing((2, 3, 4), (1, 1, 1)).to_json()
    with pytest.raises(GeometryError):
        Geometry.from_json({**stored, **change})


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([1, 1, 0, 1]), "spacing"),
        (np.full((4, 4), np.nan), "nan"),
        (np.ones((3, 3)), "shape"),
        (np.diag([1, 1, 1, 2]), "last row"),
        ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "singular"),
    ],
)
def test_unusable_affines_are_refused(affine, message):
    with pytest.raises(GeometryError, match=message):
        Geometry(shape=(2, 2, 2), affine=affine)


@pytest.mark.parametrize("shape", [(0, 1, 1), (2, 2), (1, 2, -3), (1.5, 2, 2)])
def test_unusable_shapes_are_refused(shape):
    with pytest.raises(GeometryError, match="shape"):
        Geometry(shape=shape, affine=np.eye(4))


def test_the_affine_cannot_be_changed_from_outside():
    affine = np.eye(4)
    geometry = Geometry(shape=(2, 2, 2), affine=affine)
    affine[0, 3] = 9
    assert geometry.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 3] = 9


def test_matches_tells_grids_apart():
    geometry = Geometry.from_spacing((10, 20, 30), (1, 1, 1))
    assert geometry.matches(Geometry.from_spacing((10, 20, 30), (1, 1, 1)))
    assert not geometry.matches(Geometry.from_spacing((10, 20, 31), (1, 1, 1)))
    assert not geometry.matches(Geometry.from_spacing((10, 20, 30), (1, 1, 1.001)))
    moved = geometry.affine.copy()
    moved[0, 3] += 0.001
    assert not geometry.matches(Geometry(shape=geometry.shape, affine=moved))
    assert geometry.matches(
        Geometry(shape=geometry.shape, affine=moved), tolerance=1e-3
    )


def test_units_are_converted():
    in_mm = Geometry.from_spacing((2, 3, 4), (1, 2, 3))
    in_nm = in_mm.in_unit("nm")
    assert in_nm.spacing == (1e6, 2e6, 3e6)
    assert in_nm.matches(in_mm)
    assert in_mm.matches(in_nm.in_unit("um"))
    assert not Geometry.from_spacing((2, 3, 4), (1, 2, 3), "um").matches(in_mm)


def test_the_volume_of_a_voxel_counts_its_shear_and_unit():
    assert Geometry.from_spacing((2, 2, 2), (5, 10, 20)).voxel_ml == pytest.approx(1)
    micro = Geometry.from_spacing((2, 2, 2), (100, 100, 100), "um")
    assert micro.voxel_ml == pytest.approx(1e-6)
    sheared = np.array([[0, 0, -1, 0], [0, -1, 5, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    assert Geometry(shape=(2, 2, 2), affine=sheared).voxel_ml == pytest.approx(1e-3)


def test_oblique_is_told_from_rounding():
    affine = np.eye(4)
    affine[0, 1] = 1e-6
    assert not Geometry(shape=(2, 2, 2), affine=affine).is_oblique
    affine[0, 1] = 0.01
    assert Geometry(shape=(2, 2, 2), affine=affine).is_oblique


def test_transforms_are_checked():
    with pytest.raises(GeometryError, match="permutation"):
        AxisTransform(permutation=(0, 0, 1))
    with pytest.raises(GeometryError, match="axes"):
        AxisTransform().apply(np.zeros((2, 2)))


def test_nothing_heavy_is_imported():
    code = (
        "import sys, e2miseg_core.geometry, e2miseg_core.volume, e2miseg_core.io;"
        "heavy = {'torch', 'monai', 'napari', 'SimpleITK', 'qtpy'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@st.composite
def any_geometries(draw):
    """Permuted, flipped, oblique, sheared, of tiny and huge spacings."""
    rng = np.random.default_rng(draw(seeds))
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    oblique = draw(st.sampled_from([0, 1e-9, 0.1, 0.6, 3]))
    turn, _ = np.linalg.qr(np.eye(3) + oblique * rng.normal(size=(3, 3)))
    shear = np.eye(3) + np.triu(rng.uniform(-0.7, 0.7, (3, 3)), k=1) * draw(
        st.sampled_from([0, 0, 1])
    )
    spacing = 10.0 ** np.array(draw(st.tuples(*[st.integers(-6, 6)] * 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ axes * (spacing * rng.uniform(1, 3, 3))
    affine[:3, 3] = rng.uniform(-1e3, 1e3, 3) * spacing.min()
    return Geometry(shape=draw(shapes), affine=affine)


@given(geometry=any_geometries())
def test_canonical_presentation_is_undone_bit_for_bit(geometry):
    array = np.arange(2 * np.prod(geometry.shape)).reshape(2, *geometry.shape)
    volume = Volume.from_array(array, geometry)
    assert volume.as_source(volume.data).compute().tobytes() == array.tobytes()
    np.testing.assert_array_equal(volume.source.geometry.affine, geometry.affine)
    # Each voxel lies where it lay, to 1e-9 of the grid's extent.
    reach = np.abs(geometry.corners()).max() + max(geometry.spacing)
    np.testing.assert_allclose(
        volume.source.transform.apply(world_of_every_voxel(geometry)),
        world_of_every_voxel(volume.geometry),
        rtol=0,
        atol=1e-9 * reach,
    )
    assert canonical_transform(volume.geometry).is_identity
    assert volume.geometry.spacing == tuple(
        geometry.spacing[axis] for axis in volume.source.transform.permutation
    )


@given(geometry=any_geometries(), axis=st.integers(0, 2))
def test_matches_is_reflexive_symmetric_and_notices_a_voxel(geometry, axis):
    assert geometry.matches(geometry, tolerance=0)
    moved = geometry.affine.copy()
    moved[:3, 3] += moved[:3, axis]
    other = Geometry(shape=geometry.shape, affine=moved)
    for tolerance in (1e-9, 1e-6, 1e-3, 1):
        assert geometry.matches(other, tolerance) == other.matches(geometry, tolerance)
    if geometry.spacing[axis] == max(geometry.spacing):
        assert not geometry.matches(other)
    assert geometry.matches(geometry.in_unit("um"), tolerance=1e-12)


def test_matches_tells_the_same_place_with_other_axes_apart():
    geometry = Geometry.from_spacing((5, 5, 5), (1, 1, 1))
    for transform in (
        AxisTransform(flips=(True, False, False)),
        AxisTransform(permutation=(1, 0, 2)),
    ):
        assert not geometry.matches(transform.apply_geometry(geometry))


def test_matches_looks_at_both_grids_for_its_scale():
    small = Geometry.from_spacing((2, 2, 2), (1, 1, 1))
    far = small.affine.copy()
    far[0, 3] = 1000
    moved = Geometry(shape=(2, 2, 2), affine=far)
    assert small.matches(moved, 1.0, voxels=1000)
    assert moved.matches(small, 1.0, voxels=1000)


def test_matches_tells_a_part_of_a_voxel_far_from_the_origin():
    affine = np.array([[0, 0, 4, 2e6], [0, 4, 0, 2e6], [4, 0, 0, 5e5], [0, 0, 0, 1.0]])
    moved = affine.copy()
    moved[0, 3] += 1.5  # 0.375 voxels, and less than a millionth of 2 mm
    first, second, same = (
        Geometry(shape=(4, 5, 6), affine=placed, unit="nm")
        for placed in (affine, moved, affine + np.eye(4, k=3) * 0.003)
    )
    assert not first.matches(second)
    assert not second.matches(first)
    assert first.matches(second, voxels=0.4)
    assert first.matches(same)


def test_shear_by_hand():
    affine = np.eye(4)
    assert Geometry(shape=(2, 2, 2), affine=affine).shear == 0
    affine[0, 1] = np.tan(np.radians(20))  # a gantry tilted by 20 degrees
    assert Geometry(shape=(2, 2, 2), affine=affine).shear == pytest.approx(20)


@pytest.mark.parametrize("size", [1e-200, 1e-13, 1e13, 1e200])
def test_spacings_that_no_arithmetic_stands_are_refused(size):
    with pytest.raises(GeometryError, match="spacing"):
        Geometry(shape=(2, 2, 2), affine=np.diag([1, size, 1, 1]))


def test_an_origin_where_neighbours_fall_together_is_refused():
    affine = np.eye(4)
    affine[1, 3] = 1e13
    with pytest.raises(GeometryError, match="origin"):
        Geometry(shape=(2, 2, 2), affine=affine)


@pytest.mark.parametrize(
    "shape",
    [(np.nan, 1, 1), (np.inf, 1, 1), ("a", 1, 1), (1, 1, None), 5, (2**60,) * 3],
)
def test_shapes_that_are_no_numbers_are_refused(shape):
    with pytest.raises(GeometryError, match="shape"):
        Geometry(shape=shape, affine=np.eye(4))


@pytest.mark.parametrize("stored", [None, [], "text", {"version": 1}])
def test_json_of_another_kind_is_refused(stored):
    with pytest.raises(GeometryError, match="stored geometry"):
        Geometry.from_json(stored)


@pytest.mark.parametrize("unit", [None, [], {}])
def test_units_that_are_no_text_are_refused(unit):
    with pytest.raises(GeometryError, match="unit"):
        Geometry(shape=(1, 1, 1), affine=np.eye(4), unit=unit)


def test_orientation_is_told_in_one_way() -> None:
    assert orientation_in_words("SPL", "SPL") == "axes SPL"
    assert orientation_in_words("SPL", "SAL") == "axes SPL as shown, SAL on disk"
