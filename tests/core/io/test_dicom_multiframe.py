"""Objects with many frames: enhanced ones, nuclear medicine, ultrasound."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from e2miseg_core.io import open_volume
from e2miseg_core.io.dicom.scan import scan_folder


def noise(shape):
    return np.random.default_rng(6).integers(0, 999, shape).astype(np.uint16)


def stored(volume):
    return volume.as_source(volume.data.compute())


def test_enhanced_frames_are_sorted_and_rescaled_each(dicom_files, tmp_path):
    pixels = noise((4, 3, 5))
    places = dicom_files.positions(4, 3.5)
    order = [2, 0, 3, 1]
    scales = [(0.5 + number, number) for number in range(4)]
    path = dicom_files.write_enhanced(
        tmp_path / "a.dcm",
        pixels[order],
        places[order],
        scales=[scales[index] for index in order],
    )
    volume = open_volume(path)
    factors = np.array(scales)[:, :, None, None]
    np.testing.assert_array_equal(
        stored(volume)[0], pixels * factors[:, 0] + factors[:, 1]
    )
    assert volume.geometry.spacing == pytest.approx((3.5, 0.8, 0.7))
    np.testing.assert_allclose(
        volume.source.geometry.world((0, 0, 0)), places[0] * [-1, -1, 1]
    )
    assert [at[1] for at in volume.source.details["planes"]] == [1, 3, 0, 2]


def test_moments_of_an_enhanced_object_are_channels(dicom_files, tmp_path):
    pixels = noise((2, 3, 4, 5))
    echoes = [{"MREchoSequence": {"EffectiveEchoTime": time}} for time in (2.5, 5.0)]
    path = dicom_files.write_enhanced(
        tmp_path / "a.dcm",
        pixels.swapaxes(0, 1).reshape(6, 4, 5),
        np.repeat(dicom_files.positions(3), 2, axis=0),
        groups=echoes * 3,
    )
    volume = open_volume(path)
    np.testing.assert_array_equal(stored(volume), pixels)
    assert volume.channels == ("echo time 2.5 ms", "echo time 5 ms")


def test_stacks_of_an_enhanced_object_are_parts(dicom_files, tmp_path):
    places = np.concatenate([dicom_files.positions(3), dicom_files.positions(4)])
    stacks = [{"FrameContentSequence": {"StackID": "12"[n >= 3]}} for n in range(7)]
    dicom_files.write_enhanced(
        tmp_path / "a.dcm", noise((7, 4, 5)), places, groups=stacks
    )
    found = scan_folder(tmp_path)
    assert [series.geometry.shape[0] for series in found] == [3, 4]


def test_nuclear_medicine_lies_along_the_normal_of_its_detector(dicom_files, tmp_path):
    pixels = noise((4, 3, 5))
    detector = Dataset()
    detector.ImagePositionPatient = [10, 20, 30]
    detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset = dicom_files.new_dataset(
        dicom_files.NUCLEAR_MEDICINE,
        pixels,
        DetectorInformationSequence=[detector],
        PixelSpacing=[4, 4],
        SpacingBetweenSlices=6,
    )
    volume = open_volume(dicom_files.save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(stored(volume)[0], pixels)
    np.testing.assert_allclose(volume.source.geometry.world((2, 0, 0)), (-10, -20, 42))


def test_ultrasound_frames_lie_along_z_with_calibrated_pixels(dicom_files, tmp_path):
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    dataset = dicom_files.new_dataset(
        dicom_files.ULTRASOUND_MULTIFRAME,
        noise((4, 3, 5)).astype(np.uint8),
        SequenceOfUltrasoundRegions=[region],
        FrameIncrementPointer=0x0018_1063,
        FrameTime=40,
    )
    volume = open_volume(dicom_files.save(dataset, tmp_path / "a.dcm"))
    assert volume.geometry.spacing == pytest.approx((1, 0.3, 0.2))
    assert any("1 mm apart (not stated: taken as 1)" in note for note in volume.notes)
    assert "the frames are a moving picture: Z is time" in volume.notes


def test_a_negative_spacing_stacks_against_the_normal(dicom_files, tmp_path):
    pixels = noise((3, 3, 5))
    detector = Dataset()
    detector.ImagePositionPatient = [0, 0, 30]
    detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset = dicom_files.new_dataset(
        dicom_files.NUCLEAR_MEDICINE,
        pixels,
        DetectorInformationSequence=[detector],
        PixelSpacing=[4, 4],
        SpacingBetweenSlices=-6,
        FrameIncrementPointer=0x0054_0080,
    )
    volume = open_volume(dicom_files.save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(stored(volume)[0], pixels[::-1])
    np.testing.assert_allclose(volume.source.geometry.world((0, 0, 0)), (0, 0, 18))
    assert not volume.notes
