"""What the voxels of DICOM images are: scales, bits, colours, compression."""

import gzip

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import JPEGLSLossless, RLELossless

from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_volume


def noise(shape, low=0, high=4096, dtype=np.uint16):
    return np.random.default_rng(5).integers(low, high, shape).astype(dtype)


def stored(volume):
    return volume.as_source(volume.data.compute())


def one_file(dicom_files, path, pixels, sop_class=None, **tags):
    dataset = dicom_files.new_dataset(sop_class or dicom_files.CT, pixels, **tags)
    return dicom_files.save(dataset, path)


@pytest.mark.parametrize(
    ("dtype", "bits", "scale", "expected"),
    [
        (np.uint16, 12, (1, -1024), np.int16),
        (np.uint16, 16, (1, -1024), np.int32),
        (np.int16, 16, (1, 0), np.int16),
        (np.uint8, 8, (1, 0), np.uint8),
        (np.uint16, 12, (2, 0), np.uint16),
        (np.uint16, 12, (0.5, 0), np.float32),
        (np.int32, 32, (1, 0), np.int32),
    ],
)
def test_whole_numbers_stay_whole_in_the_smallest_type(
    dicom_files, tmp_path, dtype, bits, scale, expected
):
    pixels = noise((3, 4, 5), 0, 200, dtype)
    dicom_files.write_series(
        tmp_path,
        pixels,
        BitsStored=bits,
        HighBit=bits - 1,
        RescaleSlope=scale[0],
        RescaleIntercept=scale[1],
    )
    volume = open_volume(tmp_path)
    assert volume.dtype == expected
    assert volume.source.dtype == dtype
    np.testing.assert_array_equal(
        stored(volume)[0], pixels * scale[0] + float(scale[1])
    )


def test_each_slice_has_its_own_slope(dicom_files, tmp_path):
    pixels = noise((3, 4, 5), dtype=np.int16)
    slopes = [0.5, 0.25, 2.125]
    dicom_files.write_series(
        tmp_path, pixels, per_slice=[{"RescaleSlope": slope} for slope in slopes]
    )
    volume = open_volume(tmp_path)
    expected = pixels * np.array(slopes)[:, None, None]
    np.testing.assert_array_equal(stored(volume)[0], expected.astype(np.float32))
    assert "each slice has its own rescale slope, 0.25 to 2.125" in volume.notes[-1]


def test_unused_bits_are_dropped_and_the_sign_extended(dicom_files, tmp_path):
    values = np.array([[-2048, -1, 0, 1, 2047]], np.int16)
    overlay = np.array([[1, 2, 3, 4, 5]], np.int16) << 12
    pixels = (values & 0xFFF) | overlay
    path = one_file(dicom_files, tmp_path / "a", pixels, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(stored(open_volume(path))[0, 0], values)


def test_the_sign_of_the_padding_value_is_that_of_the_pixels(dicom_files, tmp_path):
    pixels = noise((4, 5), dtype=np.int16)
    path = one_file(dicom_files, tmp_path / "a", pixels, RescaleIntercept=-1024)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x0028_0120, "US", 65536 - 2000)
    dataset.save_as(path)
    notes = open_volume(path).notes
    assert "voxels of the value -3024 are padding outside the scan: kept" in notes


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_are_channels(dicom_files, tmp_path, planar):
    pixels = noise((4, 5, 3), 0, 256, np.uint8)
    dataset = dicom_files.new_dataset(dicom_files.SECONDARY_CAPTURE, pixels)
    if planar:
        dataset.PlanarConfiguration = 1
        dataset.PixelData = np.moveaxis(pixels, -1, 0).tobytes()
    volume = open_volume(dicom_files.save(dataset, tmp_path / "a.dcm"))
    assert volume.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(stored(volume)[:, 0], np.moveaxis(pixels, -1, 0))
    part = volume.as_source(volume.data[1:2])[0, :, 1:3, 2:4].compute()
    np.testing.assert_array_equal(part[0], pixels[1:3, 2:4, 1])


def test_monochrome1_is_told_and_not_inverted(dicom_files, tmp_path):
    pixels = noise((4, 5))
    path = one_file(
        dicom_files, tmp_path / "a", pixels, PhotometricInterpretation="MONOCHROME1"
    )
    volume = open_volume(path)
    np.testing.assert_array_equal(stored(volume)[0, 0], pixels)
    assert any("not inverted" in note for note in volume.notes)


def test_float_pixels_are_read(dicom_files, tmp_path):
    dataset = dicom_files.new_dataset(dicom_files.MR, noise((4, 5)))
    del dataset.PixelData
    values = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
    dataset.FloatPixelData = values.tobytes()
    dataset.BitsAllocated = 32
    volume = open_volume(dicom_files.save(dataset, tmp_path / "a"))
    np.testing.assert_array_equal(stored(volume)[0, 0], values)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_slices_are_equal(dicom_files, tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls")
    pixels = noise((3, 16, 20))
    for path in dicom_files.write_series(tmp_path, pixels, RescaleIntercept=-1024):
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
    volume = open_volume(tmp_path)
    np.testing.assert_array_equal(stored(volume)[0], pixels.astype(int) - 1024)


def test_what_pydicom_cannot_decode_is_read_by_gdcm(tmp_path):
    pixels = noise((20, 30), -3000, 3000, np.int16)
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")  # lossless, process 14
    writer.SetFileName(str(tmp_path / "a.dcm"))
    writer.Execute(SimpleITK.GetImageFromArray(pixels))
    volume = open_volume(tmp_path / "a.dcm")
    np.testing.assert_array_equal(stored(volume)[0, 0], pixels)


def test_an_unknown_compression_is_named(dicom_files, tmp_path):
    path = one_file(dicom_files, tmp_path / "a.dcm", noise((16, 20)))
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.205"
    dataset.save_as(path)
    volume = open_volume(path)
    with pytest.raises(ReadError, match=r"1\.2\.840\.10008\.1\.2\.4\.205"):
        volume.data.compute()


def test_gzipped_files_are_read(dicom_files, tmp_path):
    pixels = noise((4, 5))
    path = one_file(dicom_files, tmp_path / "a.dcm", pixels)
    packed = tmp_path / "a.dcm.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(stored(open_volume(packed))[0, 0], pixels)


def test_big_endian_files_are_read(dicom_files, tmp_path):
    pixels = noise((4, 5))
    dataset = dicom_files.new_dataset(dicom_files.CT, pixels)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    dataset.PixelData = pixels.astype(">u2").tobytes()
    dataset.set_original_encoding(False, False)
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(stored(open_volume(path))[0, 0], pixels)
