"""Pairs of files, Analyze 7.5, colours and labels: the rarer faces of NIfTI."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_labels, open_volume, write_labels
from e2miseg_core.io.cache import keeping as cache
from e2miseg_core.io.raw import pixels as raw
from e2miseg_core.volume import Segments

AFFINE = np.array([[0, 0, 3, 5], [-2, 0, 0, 6], [0, 1, 0, 7], [0, 0, 0, 1.0]])


def packed(path):
    """Compress a file, whose name gets .gz."""
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return target


def save_pair(folder, kind, array, affine=AFFINE):
    nib.save(kind(array, affine), folder / "a.img")
    return folder / "a.hdr", folder / "a.img"


def assert_same_as_nibabel(volume, path):
    image = nib.load(path)
    np.testing.assert_allclose(
        volume.source.geometry.affine_xyz, image.affine, rtol=0, atol=1e-12
    )
    stored = volume.as_source(volume.data[0]).compute()
    np.testing.assert_array_equal(stored.T, np.asarray(image.dataobj))


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("is_packed", [(0, 0), (1, 1), (0, 1), (1, 0)])
def test_either_file_of_a_pair_opens_both(tmp_path, kind, is_packed):
    array = np.random.default_rng(0).integers(0, 99, (4, 5, 6), dtype=np.int16)
    plain = save_pair(tmp_path, kind, array)
    image = nib.load(plain[1])
    affine, stored = image.affine, np.asarray(image.dataobj)
    paths = [
        packed(path) if pack else path
        for path, pack in zip(plain, is_packed, strict=True)
    ]
    for path in paths:
        volume = open_volume(path)
        assert volume.notes == ()
        assert volume.source.uri == str(path)
        np.testing.assert_array_equal(volume.source.geometry.affine_xyz, affine)
        np.testing.assert_array_equal(volume.as_source(volume.data[0]).T, stored)


def test_labels_of_a_pair_are_written_on_its_very_grid(tmp_path):
    path, _ = save_pair(tmp_path, nib.Nifti1Pair, np.zeros((4, 5, 6), np.uint8))
    volume = open_volume(path)
    out = write_labels(
        np.ones(volume.geometry.shape, int), tmp_path / "labels.nii.gz", like=volume
    )
    np.testing.assert_array_equal(nib.load(out).affine, AFFINE)


@pytest.mark.parametrize("order", ["<", ">"])
def test_analyze_follows_the_rule_of_spm_and_says_so(tmp_path, order):
    array = np.random.default_rng(0).integers(0, 99, (4, 5, 6), dtype=np.int16)
    header = nib.Spm99AnalyzeImage.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    image = nib.Spm99AnalyzeImage(array, None, header)
    image.header.set_zooms((1, 2, 3))
    image.header["origin"][:3] = (2, 3, 4)
    with (tmp_path / "a.hdr").open("wb") as file:
        image.header.set_data_shape(array.shape)
        image.header.write_to(file)
    (tmp_path / "a.img").write_bytes(array.astype(f"{order}i2").tobytes("F"))
    volume = open_volume(tmp_path / "a.hdr")
    assert_same_as_nibabel(volume, tmp_path / "a.img")
    # By hand: x grows to the left, and the origin counts voxels from 1.
    np.testing.assert_allclose(
        volume.source.geometry.affine_xyz,
        [[-1, 0, 0, 1], [0, 2, 0, -4], [0, 0, 3, -9], [0, 0, 0, 1]],
    )
    assert volume.source.geometry.orientation == "SAL"
    assert "no orientation" in volume.notes[0]
    out = write_labels(
        np.ones(volume.geometry.shape, int), tmp_path / "b.nii", like=volume
    )
    assert open_labels(out).geometry.matches(volume.geometry)


def test_analyze_by_another_program_agrees_with_nibabel(tmp_path):
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    nib.save(nib.AnalyzeImage(array, np.diag([-1.5, 2, 3, 1])), tmp_path / "a.img")
    assert_same_as_nibabel(open_volume(tmp_path / "a.img"), tmp_path / "a.img")


def test_half_a_pair_and_wrong_names_are_told(tmp_path):
    header, image = save_pair(tmp_path, nib.Nifti1Pair, np.zeros((4, 5, 6), np.uint8))
    content = image.read_bytes()
    image.unlink()
    with pytest.raises(ReadError, match=r"without its other half.*a\.img"):
        open_volume(header)
    with pytest.raises(ReadError, match="No such file"):
        open_volume(tmp_path / "none.hdr")
    image.write_bytes(content[:-1])
    with pytest.raises(ReadError, match="cut off: it has 119 bytes"):
        open_volume(header)
    single = tmp_path / "b.hdr"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), AFFINE), tmp_path / "b.nii")
    (tmp_path / "b.nii").rename(single)
    (tmp_path / "b.img").write_bytes(content)
    with pytest.raises(ReadError, match="single NIfTI file"):
        open_volume(single)
    header.rename(tmp_path / "c.nii")
    with pytest.raises(ReadError, match=r"header of a \.hdr/\.img pair"):
        open_volume(tmp_path / "c.nii")


@pytest.mark.parametrize("colours", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_colours_become_channels(tmp_path, colours, suffix):
    dtype = np.dtype([(name, "u1") for name in colours])
    flat = np.random.default_rng(0).integers(0, 255, (4, 5, 6, len(colours)), np.uint8)
    array = flat.copy().view(dtype)[..., 0]
    path = tmp_path / f"a{suffix}"
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    volume = open_volume(path)
    names = ("red", "green", "blue", "alpha")[: len(colours)]
    assert volume.channels == names
    assert volume.dtype == np.uint8
    assert volume.notes == ("colours taken as channels: " + ", ".join(names),)
    stored = volume.as_source(volume.data).compute()
    np.testing.assert_array_equal(stored, flat.transpose(3, 2, 1, 0))
    middle = volume.data[1, :, 2:3].compute()
    np.testing.assert_array_equal(middle, volume.data.compute()[1, :, 2:3])


def test_the_intent_tells_labels(tmp_path):
    def opened(dtype, intent):
        image = nib.Nifti1Image(np.ones((4, 5, 6), dtype), AFFINE)
        image.header["intent_code"] = intent
        nib.save(image, tmp_path / "a.nii")
        return open_volume(tmp_path / "a.nii").segments

    assert opened(np.uint8, 1002) == Segments()
    assert opened(np.int16, 1002) == Segments()
    assert opened(np.uint8, 0) is None
    assert opened(np.float32, 1002) is None  # no whole numbers, whatever it says


def test_a_sheared_sform_is_told_with_its_angle(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = np.tan(np.deg2rad(10))
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None)
    image.set_sform(affine, code=1)
    nib.save(image, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(
        volume.source.geometry.affine_xyz, np.float32(affine).astype(float)
    )
    assert any("10 degrees" in note for note in volume.notes)


def test_what_was_written_is_compared_without_a_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("E2MISEG_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(raw, "_HELD_BYTES", 0)
    monkeypatch.setattr(raw, "_INDEXED_BYTES", 0)
    path, _ = save_pair(tmp_path, nib.Nifti1Pair, np.zeros((4, 5, 6), np.uint8))
    volume = open_volume(path)
    labels = np.random.default_rng(0).integers(0, 9, volume.geometry.shape)
    out = write_labels(labels, tmp_path / "labels.nii.gz", like=volume)
    assert cache.list_entries() == []
    again = open_labels(out)
    assert again.preparation is not None
    np.testing.assert_array_equal(again.data[0], labels)
    again.preparation.wait()
    assert len(cache.list_entries()) == 1
