"""What napari slices of an image: the voxels of the volume, however it asks."""

import numpy as np
import pytest

from e2miseg_core.io import open_volume, write_image
from e2miseg_core.volume import Volume
from e2miseg_napari.shown_level import ShownLevel, shown_level


@pytest.fixture(params=["image.nii", "image.ome.zarr", "image.nrrd"])
def volume(request, tmp_path):
    voxels = np.arange(2 * 5 * 6 * 7, dtype=np.int16).reshape(2, 5, 6, 7)
    like = Volume.from_array(voxels, spacing=(2, 1, 1))
    return open_volume(write_image(voxels, tmp_path / request.param, like=like))


def test_every_way_of_slicing_gives_the_same(volume):
    expected = volume.data.compute()[1]
    level = shown_level(volume.data, 1)
    assert isinstance(level, ShownLevel)
    assert (level.shape, level.dtype, level.ndim) == ((5, 6, 7), np.int16, 3)
    for key in (
        2,
        (slice(None), 3),
        (slice(1, 4), slice(2, 5), slice(None)),
        (slice(None), slice(None), -1),
        (slice(None, None, 2), 3, slice(None, None, 3)),
        (..., 4),
    ):
        np.testing.assert_array_equal(np.asarray(level[key]), expected[key])
    np.testing.assert_array_equal(np.asarray(level[1:4][1]), expected[2])
    np.testing.assert_array_equal(np.asarray(level), expected)


def test_it_computes_like_a_dask_array(volume):
    level = shown_level(volume.data, 0)
    assert level.mean().compute() == volume.data[0].compute().mean()
    assert level.nbytes == 5 * 6 * 7 * 2
    with pytest.raises(AttributeError):
        _ = level.nothing_of_that_name


def test_computed_arrays_stay_dask(volume):
    level = shown_level(volume.data + 1, 0)
    np.testing.assert_array_equal(level, volume.data[0].compute() + 1)
