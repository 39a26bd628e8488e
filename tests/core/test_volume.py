import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import GeometryError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.volume import Volume

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, lazy=st.booleans(), n_channels=st.integers(1, 3))
def test_from_array_and_as_source_are_inverse(make_geometry, seed, lazy, n_channels):
    geometry = make_geometry(seed, (3, 4, 5))
    array = np.random.default_rng(seed).integers(0, 99, (n_channels, 3, 4, 5))
    volume = Volume.from_array(da.from_array(array) if lazy else array, geometry)
    assert canonical_transform(volume.geometry).is_identity
    canonical = volume.data.compute()
    expected = canonical_transform(geometry).apply(array)
    np.testing.assert_array_equal(canonical, expected)
    np.testing.assert_array_equal(volume.as_source(canonical), array)
    np.testing.assert_array_equal(volume.as_source(volume.data).compute(), array)
    np.testing.assert_array_equal(volume.as_source(canonical[0]), array[0])


def test_canonical_by_hand():
    # Stored as x to right, y to anterior, z to superior, as most NIfTI files are.
    geometry = Geometry.from_xyz((2, 2, 2), np.diag([2, 3, 4, 1]))
    array = np.array([[[0, 1], [2, 3]], [[4, 5], [6, 7]]])
    volume = Volume.from_array(array, geometry)
    expected = [[[3, 2], [1, 0]], [[7, 6], [5, 4]]]
    np.testing.assert_array_equal(volume.data[0], expected)
    np.testing.assert_array_equal(volume.geometry.world((0, 0, 0)), [2, 3, 0])
    assert volume.geometry.spacing == (4, 3, 2)
    assert volume.source is not None
    assert volume.source.geometry is geometry


def test_spacing_alone_takes_the_axes_as_canonical():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = Volume.from_array(array, spacing=(3, 2, 1))
    np.testing.assert_array_equal(volume.data[0], array)
    assert volume.geometry.spacing == (3, 2, 1)
    assert volume.geometry.orientation == "SPL"
    assert (volume.n_channels, volume.nbytes, volume.dtype) == (1, 48, np.int16)


def test_channels_have_names():
    array = np.zeros((2, 3, 4, 5))
    volume = Volume.from_array(array, spacing=(1, 1, 1), channels=("T1", "FLAIR"))
    assert volume.channels == ("T1", "FLAIR")
    assert Volume.from_array(array, spacing=(1, 1, 1)).n_channels == 2
    with pytest.raises(GeometryError, match="1 channels"):
        Volume.from_array(array, spacing=(1, 1, 1), channels=("T1",))


def test_what_does_not_fit_is_refused():
    array = np.zeros((2, 3, 4))
    geometry = Geometry.from_spacing((4, 3, 2), (1, 1, 1))
    with pytest.raises(GeometryError, match="grid"):
        Volume.from_array(array, geometry)
    with pytest.raises(GeometryError, match="both or neither"):
        Volume.from_array(array)
    with pytest.raises(GeometryError, match="both or neither"):
        Volume.from_array(array, geometry, spacing=(1, 1, 1))
    with pytest.raises(GeometryError, match=r"\(Z, Y, X\)"):
        Volume.from_array(array[0], spacing=(1, 1, 1))
    with pytest.raises(GeometryError, match="levels"):
        Volume(levels=(), geometry=geometry, channels=())


def test_a_volume_without_source_is_written_as_it_is():
    geometry = Geometry.from_spacing((2, 3, 4), (1, 1, 1))
    volume = Volume(
        levels=(da.zeros((1, 2, 3, 4)),), geometry=geometry, channels=("a",)
    )
    labels = np.arange(24).reshape(2, 3, 4)
    assert volume.as_source(labels) is labels
