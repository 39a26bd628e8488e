"""What becomes of which source."""

import nibabel as nib
import numpy as np
import pytest

from e2miseg_core.conversion import ConversionOptions, convert
from e2miseg_core.errors import ConfigError, ReadError, WriteError
from e2miseg_core.io import open_labels, open_volume, write_image, write_labels
from e2miseg_core.volume import Volume


@pytest.fixture
def files(tmp_path, make_geometry):
    """An image and labels on one grid, and the voxels of both."""
    geometry = make_geometry(7, (12, 13, 14))
    rng = np.random.default_rng(0)
    image = rng.normal(size=geometry.shape).astype(np.float32)
    labels = rng.integers(0, 3, geometry.shape).astype(np.uint8)
    volume = Volume.from_array(image, geometry)
    turned = Volume.from_array(labels, geometry)
    return (
        write_image(volume.data[0], tmp_path / "image.nii", like=volume),
        write_labels(
            turned.data[0],
            tmp_path / "labels.ome.zarr",
            like=turned,
            names={2: "node"},
            colors={2: (255, 7, 0)},
        ),
    )


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".ome.zarr", ".zarr"])
def test_there_and_back_is_the_same(files, tmp_path, suffix):
    image, _ = files
    there = convert(image, tmp_path / f"there{suffix}").output
    back = convert(there, tmp_path / "back.nii").output
    first, last = open_volume(image), open_volume(back)
    assert last.source.geometry.matches(first.source.geometry)
    assert last.dtype == first.dtype
    np.testing.assert_array_equal(first.data.compute(), last.data.compute())


def test_labels_are_what_the_format_says(files, tmp_path):
    _, labels = files
    result = convert(labels, tmp_path / "again.ome.zarr")
    assert result.kind == "labels"
    assert any("taken as labels" in note for note in result.notes)
    volume = open_volume(result.output)
    assert volume.segments.names == {2: "node"}
    assert volume.segments.colors == {2: (255, 7, 0)}
    np.testing.assert_array_equal(
        volume.data.compute(), open_volume(labels).data.compute()
    )


def test_the_user_overrules(files, tmp_path):
    image, labels = files
    as_image = convert(labels, tmp_path / "i.nii", ConversionOptions(kind="image"))
    assert as_image.kind == "image"
    as_labels = ConversionOptions(kind="labels")
    back = convert(as_image.output, tmp_path / "l.ome.zarr", as_labels)
    assert open_labels(back.output).dtype == np.uint8
    for output in ("f.nii", "f.ome.zarr"):
        with pytest.raises(ReadError, match="labels: whole numbers"):
            convert(image, tmp_path / output, as_labels)
        assert not (tmp_path / output).exists()


def test_true_and_false_are_labels_unless_asked(tmp_path):
    import zarr

    path = tmp_path / "mask.zarr"
    mask = np.arange(60).reshape(3, 4, 5) % 3 == 0
    zarr.save_array(path, mask)
    for kind, word in ((None, "labels"), ("image", "image")):
        output = tmp_path / f"{word}.ome.zarr"
        result = convert(path, output, ConversionOptions(kind=kind))
        assert (result.kind, result.dtype) == (word, "uint8")
        np.testing.assert_array_equal(open_volume(output).data[0].compute(), mask)


def test_one_frame(tmp_path, make_geometry):
    geometry = make_geometry(1, (6, 7, 8))
    frames = np.arange(3 * 6 * 7 * 8).reshape(3, 6, 7, 8).astype(np.int16)
    volume = Volume.from_array(frames, geometry, channels=("a", "b", "c"))
    path = write_image(volume.data, tmp_path / "f.ome.zarr", like=volume)
    output = convert(f"{path}#frame=1", tmp_path / "one.nii").output
    again = open_volume(output)
    np.testing.assert_array_equal(again.as_source(again.data)[0].compute(), frames[1])


def test_nothing_is_replaced_unasked_and_the_source_never(files, tmp_path):
    image, labels = files
    for output in (image, labels):
        with pytest.raises(WriteError, match="exists"):
            convert(image, output)
    replacing = ConversionOptions(overwrite=True)
    for same in files:
        with pytest.raises(WriteError, match="never written over"):
            convert(same, same, replacing)
    with pytest.raises(WriteError, match="needed: an end of"):
        convert(image, tmp_path / "image.unknown")
    with pytest.raises(WriteError, match="no folder"):
        convert(image, tmp_path / "none" / "image.ome.zarr")
    convert(image, labels, replacing)
    assert open_volume(labels).dtype == np.float32


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunk": 48},
        {"chunk": 8},
        {"n_levels": 0},
        {"workers": 0},
        {"max_memory": 1000},
    ],
)
def test_options_out_of_range(wrong):
    with pytest.raises(ConfigError):
        ConversionOptions(**wrong)


def test_chunks_must_fit_into_the_memory(files, tmp_path):
    options = ConversionOptions(chunk=512, max_memory=64 << 20)
    with pytest.raises(ConfigError, match="smaller chunks"):
        convert(files[0], tmp_path / "a.ome.zarr", options)
    assert not list(tmp_path.glob(".a*"))


def test_what_the_format_cannot_hold_is_told(files, tmp_path):
    _, labels = files
    result = convert(labels, tmp_path / "l.nii")
    assert "names and colours of 1 label left out: NIfTI holds none" in result.notes
    result = convert(labels, tmp_path / "l.mha")
    assert not any("left out" in note for note in result.notes)


def test_the_time_between_frames_is_kept_or_said_to_be_lost(tmp_path):
    image = nib.Nifti1Image(np.ones((3, 4, 5, 2), np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.5
    path = tmp_path / "fmri.nii"
    nib.save(image, path)
    back = nib.load(convert(path, tmp_path / "again.nii.gz").output).header
    assert back["pixdim"][4] == 2.5
    assert back.get_xyzt_units() == ("mm", "sec")
    result = convert(path, tmp_path / "f.nrrd")
    assert any("time between frames left out" in note for note in result.notes)
