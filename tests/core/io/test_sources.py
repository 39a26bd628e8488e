"""Nothing is ever written over what it was made from."""

import os

import nibabel as nib
import numpy as np
import pytest

from e2miseg_core.conversion import ConversionOptions, convert
from e2miseg_core.errors import WriteError
from e2miseg_core.io import open_labels, open_volume, write_image, write_labels
from e2miseg_core.io.channels.combine import combine

REFUSED = "never written over"


def labels_of(volume) -> np.ndarray:
    return np.ones(volume.geometry.shape, np.uint8)


def refuse(volume, path) -> None:
    """See that neither labels nor an image replace a path, which stays as it is."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(WriteError, match=REFUSED) as told:
        write_labels(labels_of(volume), path, like=volume, overwrite=True)
    assert "\n" not in str(told.value)
    with pytest.raises(WriteError, match=REFUSED):
        write_image(labels_of(volume), path, like=volume, overwrite=True)
    assert path.exists()
    assert before is None or path.read_bytes() == before


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.nii.gz"
    voxels = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return path


def test_an_image_is_never_replaced_by_its_labels(scan, tmp_path, monkeypatch):
    volume = open_volume(scan)
    refuse(volume, scan)
    (tmp_path / "x").mkdir()
    refuse(volume, tmp_path / "x" / ".." / scan.name)
    other = tmp_path / "other.nii.gz"
    os.link(scan, other)  # as names that differ in case are elsewhere
    refuse(volume, other)
    monkeypatch.chdir(tmp_path)
    refuse(open_volume("scan.nii.gz"), scan)
    write_labels(labels_of(volume), tmp_path / "labels.nii.gz", like=volume)


def test_labels_that_were_corrected_are_saved_under_their_own_name(scan, tmp_path):
    volume = open_volume(scan)
    path = write_labels(labels_of(volume), tmp_path / "l.nii", like=volume)
    own = open_volume(path)
    write_labels(labels_of(own) * 2, path, like=own, overwrite=True)
    assert open_labels(path).data.max().compute() == 2
    with pytest.raises(WriteError, match=REFUSED):
        write_image(labels_of(own), path, like=own, overwrite=True)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".zarr"])
def test_stores_and_what_is_in_them_are_sources(scan, tmp_path, suffix):
    first = open_volume(scan)
    path = write_image(first.data[0], tmp_path / f"s{suffix}", like=first)
    volume = open_volume(path)
    refuse(volume, path)
    inner = write_labels(labels_of(first), path / "labels.nii.gz", like=first)
    refuse(volume, inner)
    # One image of a collection, and the collection.
    refuse(open_volume(path / "0"), path)


def test_slices_of_a_series_are_sources(dicom_files, tmp_path):
    folder = tmp_path / "ct"
    names = [f"{number}.dcm" for number in range(4)]
    files = dicom_files.write_series(folder, np.ones((4, 6, 5), np.int16), names=names)
    volume = open_volume(folder)
    refuse(volume, files[2])
    refuse(open_volume(files[0]), files[0])
    with pytest.raises(WriteError, match=REFUSED):
        convert(folder, files[1], ConversionOptions(overwrite=True, kind="labels"))
    out = write_labels(labels_of(volume), tmp_path / "seg.dcm", like=volume)
    write_labels(labels_of(volume), out, like=volume, overwrite=True)


def test_slices_of_a_combined_case_are_sources(dicom_files, tmp_path):
    folder = tmp_path / "ct"
    names = [f"{number}.dcm" for number in range(4)]
    files = dicom_files.write_series(folder, np.ones((4, 6, 5), np.int16), names=names)
    volume = open_volume(folder)
    # Without an address that opens it again, its details still name its files.
    refuse(combine({"a": volume, "b": volume}), files[2])


def test_every_image_of_a_case_is_a_source(scan, tmp_path):
    other = tmp_path / "other.nii.gz"
    other.write_bytes(scan.read_bytes())
    both = open_volume(f"{scan}#part=channels:CT=|PET=other.nii.gz")
    refuse(both, other)
    refuse(both, scan)


def test_the_voxels_of_a_header_are_a_source(tmp_path):
    voxels = tmp_path / "voxels.nrrd"  # whose name anybody may choose
    voxels.write_bytes(np.arange(60, dtype="<i2").tobytes())
    header = tmp_path / "scan.nhdr"
    header.write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: little\n"
        "encoding: raw\nspacings: 1 1 1\ndata file: voxels.nrrd\n"
    )
    refuse(open_volume(header), voxels)


def test_converting_never_replaces_the_source(scan):
    with pytest.raises(WriteError, match=REFUSED):
        convert(scan, scan, ConversionOptions(overwrite=True))
