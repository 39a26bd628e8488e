"""Dose distributions: the places of their planes, and Gy."""

import numpy as np
import pytest

from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_volume

DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
PIXELS = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6) * 100


def write(dicom_files, folder, **tags):
    tags = {
        "Modality": "RTDOSE",
        "ImagePositionPatient": [-20, -30, 10],
        "ImageOrientationPatient": list(dicom_files.AXIAL),
        "PixelSpacing": [2.5, 2.0],
        "GridFrameOffsetVector": [0, 3, 6, 9],
        "FrameIncrementPointer": 0x3004_000C,
        "DoseGridScaling": "0.001",
        "DoseUnits": "GY",
        **tags,
    }
    dataset = dicom_files.new_dataset(DOSE, PIXELS, **tags)
    return dicom_files.save(dataset, folder / "dose.dcm")


def at(volume, point):
    """Value at a place (R, A, S) in mm."""
    z, y, x = np.rint(volume.geometry.voxel(np.array(point))).astype(int)
    return float(volume.data[0, z, y, x])


@pytest.mark.parametrize(
    ("offsets", "orientation", "heights"),
    [
        ([0, 3, 6, 9], (1, 0, 0, 0, 1, 0), (10, 13, 16, 19)),
        ([0, -3, -6, -9], (1, 0, 0, 0, 1, 0), (10, 7, 4, 1)),
        ([10, 13, 16, 19], (1, 0, 0, 0, 1, 0), (10, 13, 16, 19)),
        ([10, 7, 4, 1], (1, 0, 0, 0, 1, 0), (10, 7, 4, 1)),
        # Face down in the scanner: the normal points to the feet.
        ([0, 3, 6, 9], (1, 0, 0, 0, -1, 0), (10, 7, 4, 1)),
        ([10, 13, 16, 19], (1, 0, 0, 0, -1, 0), (10, 13, 16, 19)),
    ],
)
def test_planes_lie_where_the_offsets_say(
    dicom_files, tmp_path, offsets, orientation, heights
):
    path = write(
        dicom_files,
        tmp_path,
        GridFrameOffsetVector=offsets,
        ImageOrientationPatient=list(orientation),
    )
    volume = open_volume(path)
    assert volume.geometry.spacing == pytest.approx((3, 2.5, 2))
    for plane, height in enumerate(heights):
        value = at(volume, (20, 30, height))
        assert value == pytest.approx(PIXELS[plane, 0, 0] * 0.001)
    assert volume.channels == ("dose (Gy)",)
    assert "dose (Gy): stored values by 0.001, as float32" in volume.notes


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({"GridFrameOffsetVector": None}, "4 planes that does not say where each"),
        ({"GridFrameOffsetVector": [0, 3, 6]}, "4 planes that does not say where each"),
        ({"GridFrameOffsetVector": [5, 8, 11, 14]}, "begins with 5, which is neither"),
        ({"DoseGridScaling": None}, "a dose without its scale"),
        ({"ImagePositionPatient": None}, "a dose that does not say where it lies"),
        (
            {
                "GridFrameOffsetVector": [10, 13, 16, 19],
                "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
            },
            "begins with 10, which is neither",
        ),
    ],
)
def test_an_unclear_dose_is_refused_in_one_line(dicom_files, tmp_path, tags, found):
    path = write(dicom_files, tmp_path, **tags)
    with pytest.raises(ReadError, match=found) as error:
        open_volume(path)
    assert "export the dose again" in str(error.value)


def test_uneven_planes_are_no_grid(dicom_files, tmp_path):
    path = write(dicom_files, tmp_path, GridFrameOffsetVector=[0, 3, 4, 9])
    with pytest.raises(ReadError, match="lie unevenly, 1 to 5 mm"):
        open_volume(path)


def test_the_image_of_a_folder_opens_though_a_dose_lies_beside_it(
    dicom_files, tmp_path
):
    pixels = np.ones((3, 4, 5), np.int16)
    dicom_files.write_series(tmp_path / "ct", pixels)
    write(dicom_files, tmp_path / "dose")
    assert open_volume(tmp_path).channels == ("CT",)
    assert open_volume(tmp_path, part="2").channels == ("dose (Gy)",)
