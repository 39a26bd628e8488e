"""The parts of a folder: addresses that stay true, and what lies elsewhere."""

import shutil
import threading
import warnings

import numpy as np
import pydicom
import pytest

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.io import Address, open_volume, write_labels
from e2miseg_core.io.dicom import quiet
from e2miseg_core.io.dicom.reading import open_series
from e2miseg_core.io.dicom.scan import scan, scan_folder
from e2miseg_core.io.naming import same_place, short_name, suggested_name


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(-999, 999, shape).astype(np.int16)


def stored(volume):
    return volume.as_source(volume.data.compute())


def test_an_address_opens_the_same_series_when_others_are_added(dicom_files, tmp_path):
    folder = tmp_path / "study"
    for name, seed in (("b", 1), ("c", 2)):
        dicom_files.write_series(folder / name, noise((3, 4, 5), seed))
    volume = open_volume(folder, part="1")
    uri, voxels = volume.source.uri, stored(volume)
    dicom_files.write_series(folder / "a", noise((3, 4, 5), 3))
    shutil.move(folder, tmp_path / "moved")
    again = open_volume(uri.replace("study", "moved"))
    np.testing.assert_array_equal(stored(again), voxels)
    assert again.source.uri == uri.replace("study", "moved")
    with pytest.raises(ReadError, match="no series 1@00000000"):
        open_volume(tmp_path / "moved", part="1@00000000")


def test_parts_of_one_series_have_keys_of_their_own(dicom_files, tmp_path):
    along = np.array([0, 2, 4, 6, 8, 11, 14, 17, 20.0])
    places = np.stack([0 * along, 0 * along, along], axis=1)
    dicom_files.write_series(tmp_path, noise((9, 4, 5)), places=places)
    uris = [open_volume(tmp_path, part=part).source.uri for part in "12"]
    assert uris[0] != uris[1]
    shapes = [open_volume(uri).geometry.shape[0] for uri in uris]
    assert shapes == [5, 5]
    assert open_volume(uris[1]).geometry.spacing[0] == pytest.approx(3)


def test_a_folder_of_one_series_stays_open_beside_a_screenshot(dicom_files, tmp_path):
    pixels = noise((3, 4, 5))
    folder = tmp_path / "ct"
    dicom_files.write_series(folder, pixels)
    uri = open_volume(folder).source.uri
    capture = dicom_files.new_dataset(
        dicom_files.SECONDARY_CAPTURE, np.zeros((8, 8, 3), np.uint8)
    )
    dicom_files.save(capture, folder / "a report.dcm")
    with pytest.raises(ChoiceError):
        open_volume(folder)
    np.testing.assert_array_equal(stored(open_volume(uri))[0], pixels)
    # Nothing had to be chosen, so the name says nothing of it.
    assert (suggested_name(uri), short_name(uri)) == ("ct", "ct")
    assert same_place(uri, folder)


def test_the_key_is_not_part_of_a_name_and_a_file_needs_none(dicom_files, tmp_path):
    path = dicom_files.write_enhanced(
        tmp_path / "a.dcm", noise((3, 4, 5)), dicom_files.positions(3)
    )
    assert open_volume(path).source.uri == str(path)
    assert suggested_name("study#part=2@1f0c93ab") == "study_2"
    assert not same_place("study#part=2@1f0c93ab", "study#part=2@1f0c93ac")
    assert same_place("study#part=2@1f0c93ab", "study#part=2")


@pytest.mark.parametrize("instance", [{}, {"SOPInstanceUID": "1.2.3"}])
def test_patients_whose_uids_were_blanked_are_not_mixed(
    dicom_files, tmp_path, instance
):
    blank = {
        "SeriesInstanceUID": "",
        "FrameOfReferenceUID": "",
        "StudyInstanceUID": "",
        **instance,
    }
    pixels = {name: noise((3, 4, 5), seed) for seed, name in enumerate("bc")}
    for name, each in pixels.items():
        dicom_files.write_series(tmp_path / name, each, **blank)
    with pytest.raises(ChoiceError, match="2 DICOM series"):
        open_volume(tmp_path)
    uri = open_volume(tmp_path, part="2").source.uri
    dicom_files.write_series(tmp_path / "a", noise((3, 4, 5), 9), **blank)
    np.testing.assert_array_equal(stored(open_volume(uri))[0], pixels["c"])


def test_blank_series_of_two_studies_in_one_folder_are_two(dicom_files, tmp_path):
    for name in "ab":
        dicom_files.write_series(
            tmp_path,
            noise((2, 4, 5)),
            names=[f"{name}{n}" for n in range(2)],
            SeriesInstanceUID="",
            FrameOfReferenceUID="",
        )
    assert len(scan_folder(tmp_path)) == 2


def test_slices_that_lie_elsewhere_are_told(dicom_files, tmp_path):
    lacking = [*[{}] * 4, {"ImagePositionPatient": None}]
    dicom_files.write_series(tmp_path, noise((5, 4, 5)), per_slice=lacking)
    first, second = scan_folder(tmp_path)
    assert "1 file" in str(second.choice)
    assert "position not stated" in str(second.choice)
    notes = open_volume(tmp_path, part="1").notes
    assert "1 slices of this series lie elsewhere (#part=2)" in notes
    assert "4 slices of this series lie elsewhere (#part=1)" in (
        open_volume(tmp_path, part="2").notes
    )
    assert first.stack is not None


def test_a_list_says_where_the_spacing_changes(dicom_files, tmp_path):
    along = np.array([0, 2, 4, 6, 8, 11, 14, 17, 20.0])
    places = np.stack([0 * along, 0 * along, along], axis=1)
    dicom_files.write_series(tmp_path, noise((9, 4, 5)), places=places)
    details = [each.choice.detail for each in scan_folder(tmp_path)]
    assert "the spacing changes: run 1 of 2, 2 mm apart" in details[0]
    assert "the spacing changes: run 2 of 2, 3 mm apart" in details[1]


def test_a_segmentation_of_one_moment_refers_to_its_images(dicom_files, tmp_path):
    paths = {}
    for number, echo in enumerate((10, 20)):
        paths[number] = dicom_files.write_series(
            tmp_path / "mr" / str(echo),
            noise((3, 4, 5), number),
            series="1.2.3",
            study="1.2",
            frame_of_reference="1.4",
            sop_class=dicom_files.MR,
            EchoTime=echo,
        )
    volume = open_volume(f"{tmp_path / 'mr'}#frame=1")
    labels = np.ones(volume.geometry.shape, np.uint8)
    written = write_labels(labels, tmp_path / "seg.dcm", like=volume)
    referred = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in pydicom.dcmread(written).PerFrameFunctionalGroupsSequence
    }
    uids = {str(pydicom.dcmread(path).SOPInstanceUID) for path in paths[1]}
    assert referred == uids


def interleaved(dicom_files, folder, tags, **shared):
    places = np.concatenate(
        [dicom_files.positions(4, 5.0, origin=(0, 0, start)) for start in (0, 2.5)]
    )
    pixels = noise((8, 4, 5))
    dicom_files.write_series(
        folder,
        pixels,
        places=places,
        sop_class=dicom_files.MR,
        per_slice=[tags[0]] * 4 + [tags[1]] * 4,
        **shared,
    )
    return pixels


@pytest.mark.parametrize(
    ("tags", "reasons"),
    [
        ([{"EchoTime": 10}, {"EchoTime": 90}], ("echo time 10 ms", "echo time 90 ms")),
        (
            [{"DiffusionBValue": 0.0}, {"DiffusionBValue": 800.0}],
            ("b-value 0 s/mm2", "b-value 800 s/mm2"),
        ),
    ],
)
def test_interleaved_contrasts_are_parts(dicom_files, tmp_path, tags, reasons):
    pixels = interleaved(dicom_files, tmp_path, tags)
    found = scan_folder(tmp_path)
    for number, (series, reason) in enumerate(zip(found, reasons, strict=True), 1):
        assert reason in series.choice.detail
        volume = open_volume(tmp_path, part=str(number))
        assert volume.geometry.spacing[0] == pytest.approx(5)
        own = pixels[:4] if number == 1 else pixels[4:]
        np.testing.assert_array_equal(stored(volume)[0], own)


def test_interleaved_sets_of_several_moments_are_parts(dicom_files, tmp_path):
    for kind in "MP":
        interleaved(
            dicom_files,
            tmp_path / kind,
            [{"EchoTime": 10}, {"EchoTime": 90}],
            series="1.2.3",
            frame_of_reference="1.4",
            ImageType=["ORIGINAL", "PRIMARY", kind],
        )
    found = scan_folder(tmp_path)
    assert [len(series.stack.planes) for series in found] == [2, 2]
    assert [series.geometry.shape[0] for series in found] == [4, 4]


@pytest.mark.parametrize(("stated", "count"), [(5, 2), (2.5, 1)])
def test_interleaved_acquisitions_are_parts_if_their_spacing_is_stated(
    dicom_files, tmp_path, stated, count
):
    numbers = [{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}]
    interleaved(dicom_files, tmp_path, numbers, SpacingBetweenSlices=stated)
    assert len(scan_folder(tmp_path)) == count


def test_a_contrast_that_changes_along_a_stack_is_told(dicom_files, tmp_path):
    echoes = [{"EchoTime": 10}] * 3 + [{"EchoTime": 90}] * 3
    dicom_files.write_series(tmp_path, noise((6, 4, 5)), per_slice=echoes)
    notes = open_volume(tmp_path).notes
    assert any(
        "the echo time changes from slice to slice, 10 to 90 ms" in n for n in notes
    )


def test_a_file_that_vanishes_while_its_series_is_opened(dicom_files, tmp_path):
    path = dicom_files.write_series(tmp_path, noise((3, 4, 5)))[1]
    (series,) = scan_folder(tmp_path)
    path.unlink()
    with pytest.raises(ReadError, match=rf"{path.name} went away"):
        open_series(series, Address(str(tmp_path)))


def test_threads_that_read_leave_the_warnings_of_others_alone(dicom_files, tmp_path):
    dicom_files.write_series(tmp_path, noise((20, 4, 5)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        failed = []

        def read():
            try:
                for _ in range(5):
                    scan(tmp_path)
            except BaseException as error:  # noqa: BLE001 - told by the test's thread
                failed.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            with pytest.raises(UserWarning, match="heard"):
                warnings.warn("heard", stacklevel=1)
        for thread in threads:
            thread.join()
        assert not failed
        left = [each for each in warnings.filters if each not in before]
        assert len(left) == 1
        with pytest.raises(UserWarning, match="heard"):
            warnings.warn("heard", stacklevel=1)
        with quiet.quietly():
            warnings.warn("not heard", stacklevel=1)


def test_a_mosaic_says_what_helps(dicom_files, tmp_path):
    dicom_files.write_series(
        tmp_path,
        noise((2, 4, 5)),
        sop_class=dicom_files.MR,
        ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
    )
    with pytest.raises(ReadError, match="mosaic of slices") as error:
        open_volume(tmp_path)
    assert "one picture a slice" in str(error.value)
    assert "a whole file" not in str(error.value)


def test_images_without_positions_are_not_oriented(dicom_files, tmp_path):
    dataset = dicom_files.new_dataset(dicom_files.SECONDARY_CAPTURE, noise((4, 5)))
    assert not open_volume(dicom_files.save(dataset, tmp_path / "a.dcm")).is_oriented
    dicom_files.write_series(tmp_path / "ct", noise((3, 4, 5)))
    assert open_volume(tmp_path / "ct").is_oriented
