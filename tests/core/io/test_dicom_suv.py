"""PET in SUV body weight, against values computed by hand."""

import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from e2miseg_core.io import open_volume

HALF_LIFE = 6586.2
ZR_89, CU_64 = 282276.0, 45721.0  # half-lives, s
WEIGHT, DOSE = 75.0, 300e6
SCAN_DELAY = 3600.0


def pet_tags(**changes):
    drug = Dataset()
    drug.RadionuclideTotalDose = changes.pop("dose", DOSE)
    drug.RadionuclideHalfLife = changes.pop("half_life", HALF_LIFE)
    drug.RadiopharmaceuticalStartTime = changes.pop("start", "093000")
    if "start_both" in changes:
        drug.RadiopharmaceuticalStartDateTime = changes.pop("start_both")
    return {
        "Units": "BQML",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "DecayCorrection": "START",
        "PatientWeight": WEIGHT,
        "SeriesDate": "20200102",
        "SeriesTime": "103000",
        "AcquisitionDate": "20200102",
        "AcquisitionTime": "103000.5",
        "RadiopharmaceuticalInformationSequence": [drug],
        **changes,
    }


def write(dicom_files, folder, *, per_slice=None, private=None, **changes):
    pixels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    paths = dicom_files.write_series(
        folder,
        pixels,
        sop_class=dicom_files.PET,
        RescaleSlope=2,
        per_slice=per_slice,
        **pet_tags(**changes),
    )
    if private is not None:
        for path in paths:
            change_private(path, *private)
    return open_volume(folder), 2.0 * pixels


def change_private(path, group, creator, element, kind, value):
    import pydicom

    dataset = pydicom.dcmread(path)
    block = dataset.private_block(group, creator, create=True)
    block.add_new(element, kind, value)
    dataset.save_as(path)


def factor(delay=SCAN_DELAY):
    return WEIGHT * 1000 / (DOSE * 0.5 ** (delay / HALF_LIFE))


def is_scaled(volume, values, by):
    found = volume.as_source(volume.data.compute())[0]
    np.testing.assert_allclose(found, values * by, rtol=1e-6)
    return volume.channels == ("SUV body weight",)


def test_decay_to_the_start_of_the_scan(dicom_files, tmp_path):
    volume, values = write(dicom_files, tmp_path)
    assert is_scaled(volume, values, factor())
    note = next(note for note in volume.notes if note.startswith("SUV body weight"))
    assert "weight 75 kg, dose 300 MBq, half-life 6586.2 s, 60.00 min" in note
    assert "2020" not in note


def test_decay_to_the_injection(dicom_files, tmp_path):
    volume, values = write(dicom_files, tmp_path, DecayCorrection="ADMIN")
    assert is_scaled(volume, values, WEIGHT * 1000 / DOSE)


def test_injection_before_midnight(dicom_files, tmp_path):
    volume, values = write(
        dicom_files,
        tmp_path,
        start="233000",
        SeriesTime="003000",
        AcquisitionTime="003000",
    )
    assert is_scaled(volume, values, factor())


def test_a_stated_date_counts_over_days(dicom_files, tmp_path):
    volume, values = write(
        dicom_files, tmp_path, half_life=ZR_89, start_both="20191229103000"
    )
    left = DOSE * 0.5 ** (4 * 86400 / ZR_89)
    assert is_scaled(volume, values, WEIGHT * 1000 / left)
    assert not any("date is not stated" in note for note in volume.notes)


def test_an_assumed_date_is_said(dicom_files, tmp_path):
    volume, values = write(dicom_files, tmp_path)
    assert is_scaled(volume, values, factor())
    assert any("date is not stated" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("start", "local"),
    [
        ("20200102093000.00+0100", "+0100"),
        ("20200102083000.00+0000", "+0100"),
        ("20200102040000-0430", "+0100"),
        ("20200102223000+1400", "+0100"),
        ("20200102093000", "+0100"),  # the file's own offset holds
    ],
)
def test_offsets_from_utc_count(dicom_files, tmp_path, start, local):
    volume, values = write(
        dicom_files, tmp_path, start_both=start, start="", TimezoneOffsetFromUTC=local
    )
    assert is_scaled(volume, values, factor())


def test_an_offset_that_nothing_compares_with_leaves_the_clock(dicom_files, tmp_path):
    volume, values = write(dicom_files, tmp_path, start_both="20200102083000+0000")
    assert is_scaled(volume, values, factor())
    assert any("date is not stated" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientWeight": 70}, "different weights"),
        ({"Units": "GML"}, "different units"),
        ({"DecayCorrection": "ADMIN"}, "different corrections"),
        ({"CorrectedImage": ["DECY"]}, "different corrections"),
        ({"dose": 2 * DOSE}, "different injected doses"),
        ({"half_life": 4000}, "different half-lives"),
        ({"start": "092900"}, "different times of the injection"),
    ],
)
def test_slices_that_contradict_each_other_stay_raw(
    dicom_files, tmp_path, changes, reason
):
    volume, values = write(dicom_files, tmp_path, per_slice=[{}, pet_tags(**changes)])
    assert not is_scaled(volume, values, 1)
    assert any("not SUV" in note and reason in note for note in volume.notes)


def test_a_series_made_later_counts_from_the_first_acquisition(dicom_files, tmp_path):
    times = [{"AcquisitionTime": time} for time in ("103500", "103000")]
    volume, values = write(dicom_files, tmp_path, SeriesTime="150000", per_slice=times)
    assert is_scaled(volume, values, factor())
    assert any("by the first acquisition" in note for note in volume.notes)


def test_a_series_made_later_counts_from_the_frame_reference_time(
    dicom_files, tmp_path
):
    duration = 180.0
    constant = np.log(2) / HALF_LIFE
    decay = constant * duration
    mean = np.log(decay / (1 - np.exp(-decay))) / constant
    # The acquisition began 300 s after the scan; its mean count rate came later.
    volume, values = write(
        dicom_files,
        tmp_path,
        SeriesTime="150000",
        AcquisitionTime="103500",
        FrameReferenceTime=(300 + mean) * 1000,
        ActualFrameDuration=int(duration * 1000),
    )
    assert is_scaled(volume, values, factor())


def test_ge_writes_the_time_of_the_scan_apart(dicom_files, tmp_path):
    volume, values = write(
        dicom_files,
        tmp_path,
        SeriesTime="150000",
        AcquisitionTime="110000",
        start="093000",
        private=(0x0009, "GEMS_PETD_01", 0x0D, "DT", "20200102103000.00"),
    )
    assert is_scaled(volume, values, factor())


def test_philips_factor_of_counts(dicom_files, tmp_path):
    volume, values = write(
        dicom_files,
        tmp_path,
        Units="CNTS",
        private=(0x7053, "Philips PET Private Group", 0x00, "DS", "0.000125"),
    )
    assert is_scaled(volume, values, 0.000125)


def test_philips_activity_of_counts(dicom_files, tmp_path):
    volume, values = write(
        dicom_files,
        tmp_path,
        Units="CNTS",
        private=(0x7053, "Philips PET Private Group", 0x09, "DS", "1.5"),
    )
    assert is_scaled(volume, values, 1.5 * factor())


def test_values_that_are_suv_already(dicom_files, tmp_path):
    volume, values = write(dicom_files, tmp_path, Units="GML")
    assert is_scaled(volume, values, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientWeight": None}, "weight missing"),
        ({"dose": 300.0}, "an injected dose of 300 Bq cannot be right"),
        ({"dose": 0.0}, "injected dose missing"),
        ({"DecayCorrection": "NONE"}, "the decay correction is NONE"),
        ({"CorrectedImage": ["DECY"]}, "not corrected for attenuation"),
        ({"Units": "CNTS"}, "Units are CNTS"),
        ({"Units": "GML", "SUVType": "LBM"}, "SUV of the type LBM"),
        ({"start": ""}, "the time from injection to scan is unknown"),
        ({"half_life": ZR_89}, "with a half-life of 78.4 h days may lie between"),
        ({"half_life": CU_64, "start": "103100"}, "days may lie between"),
        ({"start": "103100"}, "1439 min from injection to scan, without a date"),
        ({"start_both": "20200102103100"}, "-1 min from injection to scan is no time"),
        ({"start": "", "start_both": "20200102093000+0000"}, "an offset from UTC"),
    ],
)
def test_raw_values_with_the_reason(dicom_files, tmp_path, changes, reason):
    volume, values = write(dicom_files, tmp_path, **changes)
    assert not is_scaled(volume, values, 1)
    assert any("not SUV" in note and reason in note for note in volume.notes)


def test_the_ibsi_case_is_equal_to_its_nifti(shared_data):
    volume = open_volume(shared_data / "dicom/ibsi_sts_pet/STS_001/image")
    image = SimpleITK.ReadImage(
        str(shared_data / "ibsi_soft_tissue_sarcoma/STS_001/PET_image.nii.gz")
    )
    found = volume.as_source(volume.data.compute())[0]
    np.testing.assert_allclose(
        found, SimpleITK.GetArrayFromImage(image), rtol=1e-6, atol=1e-6
    )
    origin = volume.source.geometry.world((0, 0, 0)) * [-1, -1, 1]
    np.testing.assert_allclose(origin, image.GetOrigin(), atol=1e-4)
    assert volume.channels == ("SUV body weight",)
