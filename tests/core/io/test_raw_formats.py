"""What NRRD and MetaImage have in common: round trips, and what other programs see."""

import itertools
import pickle

import nrrd
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from e2miseg_core.io import open_labels, open_volume, write_image, write_labels
from e2miseg_core.volume import Volume

LPS = np.array([-1, -1, 1])
DTYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32]
WRITABLE = [".nrrd", ".mha"]


def make_volume(make_geometry, seed, dtype=np.int16, channels=0, unit="mm"):
    """A volume on a grid that is turned, flipped and oblique."""
    geometry = make_geometry(seed, (3, 4, 5))
    geometry = type(geometry)(shape=geometry.shape, affine=geometry.affine, unit=unit)
    rng = np.random.default_rng(seed)
    shape = (channels, 3, 4, 5) if channels else (3, 4, 5)
    values = rng.integers(0, 100, shape) - (50 if np.dtype(dtype).kind != "u" else 0)
    return Volume.from_array(values.astype(dtype), geometry)


def check_points(image, geometry):
    """SimpleITK puts the corner voxels where our affine does."""
    for index in itertools.product(*((0, size - 1) for size in image.GetSize()[:3])):
        more = (0,) * (image.GetDimension() - 3)
        point = np.array(image.TransformIndexToPhysicalPoint((*index, *more)))[:3]
        expected = geometry.world(index[::-1])
        reach = np.abs(expected).max() + max(geometry.spacing)
        np.testing.assert_allclose(point * LPS, expected, atol=1e-6 * reach)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    suffix=st.sampled_from(WRITABLE),
    dtype=st.sampled_from(DTYPES),
    unit=st.sampled_from(["mm", "um", "nm"]),
)
def test_what_was_written_is_read(
    make_geometry, tmp_path_factory, seed, suffix, dtype, unit
):
    volume = make_volume(make_geometry, seed, dtype, unit=unit)
    path = tmp_path_factory.mktemp("trip") / f"scan{suffix}"
    write_image(volume.data[0], path, like=volume)
    again = open_volume(path)
    assert again.dtype == dtype
    expected_unit = "um" if (suffix, unit) == (".mha", "nm") else unit
    assert again.geometry.unit == expected_unit
    affine = volume.geometry.in_unit(expected_unit).affine
    reach = np.abs(affine).max()
    np.testing.assert_allclose(again.geometry.affine, affine, atol=1e-6 * reach)
    assert again.geometry.orientation == "SPL"
    np.testing.assert_array_equal(again.data.compute(), volume.data.compute())
    assert again.notes == ()


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    suffix=st.sampled_from(WRITABLE),
    dtype=st.sampled_from(DTYPES),
)
def test_simpleitk_sees_the_same_voxels_in_the_same_places(
    make_geometry, tmp_path_factory, seed, suffix, dtype
):
    volume = make_volume(make_geometry, seed, dtype)
    path = tmp_path_factory.mktemp("itk") / f"scan{suffix}"
    write_image(volume.data[0], path, like=volume)
    image = SimpleITK.ReadImage(str(path))
    stored = volume.as_source(volume.data[0]).compute()
    found = SimpleITK.GetArrayFromImage(image)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, stored)
    check_points(image, volume.source.geometry)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    ending=st.sampled_from([".nrrd", ".nhdr", ".mha", ".mhd"]),
    compressed=st.booleans(),
    dtype=st.sampled_from([*DTYPES, np.int64, np.uint64, np.float64]),
)
def test_what_simpleitk_writes_is_read(
    make_geometry, tmp_path_factory, seed, ending, compressed, dtype
):
    geometry = make_geometry(seed, (3, 4, 5))
    array = np.random.default_rng(seed).integers(0, 99, (3, 4, 5)).astype(dtype)
    image = SimpleITK.GetImageFromArray(array)
    lps = LPS[:, None] * geometry.affine_xyz[:3]
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(lps[:, 3].tolist())
    image.SetDirection((lps[:, :3] / geometry.spacing[::-1]).ravel().tolist())
    path = tmp_path_factory.mktemp("from_itk") / f"scan{ending}"
    SimpleITK.WriteImage(image, str(path), compressed)
    volume = open_volume(path)
    assert volume.dtype == dtype
    np.testing.assert_array_equal(volume.as_source(volume.data)[0].compute(), array)
    check_points(SimpleITK.ReadImage(str(path)), volume.source.geometry)
    assert volume.source.geometry.matches(geometry)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_channels_are_written_and_read_by_others(make_geometry, tmp_path, suffix):
    volume = make_volume(make_geometry, 5, np.float32, channels=2)
    path = write_image(volume.data, tmp_path / f"scan{suffix}", like=volume)
    again = open_volume(path)
    np.testing.assert_array_equal(again.data.compute(), volume.data.compute())
    assert any("2 values a voxel" in note for note in again.notes)
    image = SimpleITK.ReadImage(str(path))
    found = SimpleITK.GetArrayFromImage(image)  # (Z, Y, X, C)
    stored = volume.as_source(volume.data).compute()
    np.testing.assert_array_equal(np.moveaxis(found, -1, 0), stored)
    check_points(image, volume.source.geometry)


def test_pynrrd_sees_the_same(make_geometry, tmp_path):
    volume = make_volume(make_geometry, 8, np.int16, unit="um")
    path = write_image(volume.data[0], tmp_path / "scan.nrrd", like=volume)
    array, header = nrrd.read(str(path), index_order="C")
    np.testing.assert_array_equal(array, volume.as_source(volume.data[0]).compute())
    geometry = volume.source.geometry
    lps = geometry.affine_xyz[:3] * LPS[:, None]
    np.testing.assert_array_equal(header["space directions"], lps[:, :3].T)
    np.testing.assert_array_equal(header["space origin"], lps[:, 3])
    assert header["space units"] == ["um"] * 3


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("vector", [True, False])
def test_vectors_and_series_of_simpleitk_become_channels(tmp_path, suffix, vector):
    shape = (3, 4, 5, 2) if vector else (2, 3, 4, 5)
    array = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    image = SimpleITK.GetImageFromArray(array, isVector=vector)
    image.SetSpacing((1, 2, 3, 4)[: image.GetDimension()])
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(image, str(path))
    volume = open_volume(path)
    expected = np.moveaxis(array, -1, 0) if vector else array
    np.testing.assert_array_equal(volume.data.compute(), expected)
    assert volume.geometry.spacing == (3, 2, 1)
    assert any("taken as channels" in note for note in volume.notes)
    last = open_volume(path, frame=1)
    np.testing.assert_array_equal(last.data[0].compute(), expected[1])


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_one_plane_of_simpleitk_is_read(tmp_path, suffix):
    array = np.arange(20, dtype=np.int16).reshape(4, 5)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.5, 2))
    path = tmp_path / f"plane{suffix}"
    SimpleITK.WriteImage(image, str(path))
    volume = open_volume(path)
    assert volume.geometry.spacing == (1, 2, 0.5)
    assert volume.source.geometry.orientation == "SPL"
    np.testing.assert_array_equal(volume.data[0, 0].compute(), array)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_negative_spacing_turns_the_axis_as_in_itk(tmp_path, suffix):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    path = tmp_path / f"scan{suffix}"
    header = {
        ".nrrd": "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 5 4 3\nencoding: raw\n"
        "spacings: 2 -3 4\n\n",
        ".mha": "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nOffset = 1 2 3\n"
        "ElementType = MET_UCHAR\nElementSpacing = 2 -3 4\nElementDataFile = LOCAL\n",
    }[suffix]
    path.write_bytes(header.encode() + array.tobytes())
    volume = open_volume(path)
    assert volume.geometry.spacing == (4, 3, 2)
    assert volume.source.geometry.orientation == "SAL"
    check_points(SimpleITK.ReadImage(str(path)), volume.source.geometry)
    np.testing.assert_array_equal(volume.data[0].compute(), array[:, ::-1])


@pytest.mark.parametrize("suffix", WRITABLE)
def test_labels_are_read_back(make_geometry, tmp_path, suffix):
    volume = make_volume(make_geometry, 4)
    labels = np.random.default_rng(4).integers(0, 300, volume.geometry.shape)
    path = write_labels(labels, tmp_path / f"labels{suffix}", like=volume)
    again = open_labels(path)
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again.data[0].compute(), labels)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_equal_voxels_give_equal_files(make_geometry, tmp_path, suffix):
    volume = make_volume(make_geometry, 6)
    one = write_image(volume.data[0], tmp_path / f"one{suffix}", like=volume)
    two = write_image(volume.data[0], tmp_path / f"two{suffix}", like=volume)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("suffix", [*WRITABLE, ".nhdr"])
def test_voxels_can_be_sent_to_another_process(make_geometry, tmp_path, suffix):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), True)
    volume = open_volume(path)
    volume.data[0, 1].compute()
    sent = pickle.loads(pickle.dumps(volume.data))
    np.testing.assert_array_equal(sent[0].compute(), array)


def test_changed_files_are_other_voxels(tmp_path):
    path = tmp_path / "scan.mhd"
    array = np.zeros((3, 4, 5), np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    before = open_volume(path).data.name
    assert open_volume(path).data.name == before
    (tmp_path / "scan.raw").write_bytes(b"\1" * 61)  # the header stays as it is
    assert open_volume(path).data.name != before
