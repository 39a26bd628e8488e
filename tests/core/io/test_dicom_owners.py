"""Series of several patients in one folder can be told apart, and nobody is named."""

import numpy as np
import pytest

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.io import open_volume
from e2miseg_core.io.dicom.kinds import VALUE_MAP_CLASS
from e2miseg_core.io.dicom.owners import _letters


def write(dicom_files, folder, patient):
    dicom_files.write_series(folder, np.ones((3, 4, 5), np.int16), PatientID=patient)


def test_two_patients_in_a_folder_are_told_apart_without_their_names(
    dicom_files, tmp_path
):
    write(dicom_files, tmp_path / "x", "Zyzzyva 1")
    write(dicom_files, tmp_path / "y", "Zyzzyva 2")
    with pytest.raises(ChoiceError) as told:
        open_volume(tmp_path)
    first, second = (choice.detail for choice in told.value.choices)
    assert "patient A, in x" in first
    assert "patient B, in y" in second
    assert "3 x 4 x 5, " in first
    assert " mm, 3 files" in first
    assert "Zyzzyva" not in str(told.value)
    notes = open_volume(tmp_path, part="2").notes
    assert "2 patients lie in this folder: this is of patient B" in notes
    assert not any("Zyzzyva" in note for note in notes)


def test_one_patient_needs_no_letter(dicom_files, tmp_path):
    for name in "ab":
        write(dicom_files, tmp_path / name, "7")
    with pytest.raises(ChoiceError) as told:
        open_volume(tmp_path)
    assert not any("patient" in choice.detail for choice in told.value.choices)
    assert not any("lie in this" in n for n in open_volume(tmp_path / "a").notes)


def test_letters_go_on_after_z():
    assert [_letters(n) for n in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def test_a_value_map_is_called_so(dicom_files, tmp_path):
    dataset = dicom_files.new_dataset(
        dicom_files.CT, np.ones((4, 5), np.int16), SOPClassUID=VALUE_MAP_CLASS
    )
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(dataset, tag)
    path = dicom_files.save(dataset, tmp_path / "map.dcm")
    with pytest.raises(ReadError, match="is a real-world value map, no image"):
        open_volume(path)
