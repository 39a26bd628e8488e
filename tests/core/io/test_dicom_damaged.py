"""Damaged and lying DICOM files: one line each, nothing allocated by their word."""

import contextlib
import tracemalloc

import numpy as np
import pydicom
import pytest

from e2miseg_core.errors import E2MISegError, ReadError
from e2miseg_core.io import open_volume
from e2miseg_core.io.dicom.scan import scan, scan_folder


def series(dicom_files, folder, **tags):
    pixels = np.random.default_rng(1).integers(0, 99, (3, 16, 16)).astype(np.int16)
    return dicom_files.write_series(folder, pixels, **tags)


@pytest.mark.parametrize("left", [40, 140, 700, -1, -100])
def test_truncated_files(dicom_files, tmp_path, left):
    path = series(dicom_files, tmp_path)[0]
    path = path.rename(tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ReadError):
        open_volume(path).data.compute()


def test_a_file_cut_off_within_its_header_is_told(dicom_files, tmp_path):
    path = series(dicom_files, tmp_path)[2]
    path.write_bytes(path.read_bytes()[:700])
    volume = open_volume(tmp_path)
    assert volume.data.shape[1] == 2
    assert any("1 DICOM files cannot be read" in note for note in volume.notes)


def test_a_cut_off_slice_is_named_beside_the_rest(dicom_files, tmp_path):
    path = series(dicom_files, tmp_path)[1]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ReadError, match=r"2 DICOM series .* cannot be opened"):
        open_volume(tmp_path)
    with pytest.raises(ReadError, match=rf"{path.name} announces .* holds 502 bytes"):
        open_volume(tmp_path, part="2")
    notes = open_volume(tmp_path, part="1").notes
    assert "1 files of the series are cut off and left out" in notes


@pytest.mark.parametrize(
    "tags",
    [
        {"Rows": 65535, "Columns": 65535},
        {"NumberOfFrames": 2**31 - 1},
        {"NumberOfFrames": -5, "Rows": 0},
        {"SamplesPerPixel": 60000},
        {"BitsAllocated": 12},
        {"PixelSpacing": [0, 0]},
        {"PixelSpacing": ["1e300", "1e300"]},
        {"ImagePositionPatient": ["1e300", "0", "0"]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"RescaleSlope": "1e308"},
        {"BitsStored": 0, "HighBit": 60000},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lying_headers_allocate_nothing(dicom_files, tmp_path, tags):
    paths = series(dicom_files, tmp_path)
    for path in paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    tracemalloc.start()
    with contextlib.suppress(E2MISegError):
        open_volume(tmp_path).data.compute()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20  # modules and dask's graph, not pixels


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_compressed_frame_that_lies_about_its_size(dicom_files, tmp_path):
    path = series(dicom_files, tmp_path)[0]
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(path)
    with pytest.raises(ReadError, match=r"65535 x 65535 .* but is only"):
        open_volume(path)


def test_random_damage_gives_one_line(dicom_files, tmp_path):
    path = series(dicom_files, tmp_path)[0]
    whole = path.read_bytes()
    rng = np.random.default_rng(8)
    for _ in range(60):
        content = bytearray(whole)
        for at in rng.integers(132, len(whole) - 512, 6):
            content[at] = rng.integers(256)
        path.write_bytes(content[: rng.integers(132, len(whole) + 1)])
        with contextlib.suppress(E2MISegError):  # always one line
            open_volume(tmp_path).data.compute()


def test_damaged_headers_are_counted(dicom_files, tmp_path):
    (tmp_path / "x").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 100)
    found = scan(tmp_path)
    assert (found.series, found.n_files) == ((), 1)
    with pytest.raises(ReadError, match="no DICOM image"):
        open_volume(tmp_path)
    series(dicom_files, tmp_path)
    assert any(
        "1 DICOM files cannot be read" in note for note in open_volume(tmp_path).notes
    )


def test_an_object_without_pixels_is_listed_and_not_opened(dicom_files, tmp_path):
    dataset = dicom_files.new_dataset("1.2.840.10008.5.1.4.1.1.67", np.ones((2, 2)))
    del dataset.PixelData, dataset.Rows
    dicom_files.save(dataset, tmp_path / "a")
    assert [each.kind for each in scan_folder(tmp_path)] == ["other"]
    with pytest.raises(ReadError, match="holds no image"):
        open_volume(tmp_path, part="1")
    with pytest.raises(ReadError, match="real-world value map, no image"):
        open_volume(tmp_path)


def test_a_mosaic_of_slices_is_refused(dicom_files, tmp_path):
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    series(dicom_files, tmp_path, ImageType=kind)
    with pytest.raises(ReadError, match="mosaic of slices side by side"):
        open_volume(tmp_path)
