"""Tests of writing labels as a DICOM segmentation of the series they were made on."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import generate_uid

from e2miseg_core.conversion import ConversionOptions, convert
from e2miseg_core.errors import GeometryError, ReadError, WriteError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io import open_labels, open_volume, write_image, write_labels
from e2miseg_core.io.dicom import (
    segment_packing,
    segment_template,
    segmentation_writer,
)
from e2miseg_core.volume import Volume

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def series(tmp_path: Path, dicom_files: ModuleType) -> Volume:
    """Five axial slices of 7 x 6 pixels: frames that begin within a byte."""
    pixels = np.arange(5 * 7 * 6, dtype=np.int16).reshape(5, 7, 6)
    dicom_files.write_series(tmp_path / "ct", pixels, identify=True)
    return open_volume(tmp_path / "ct")


def checked_by_highdicom(path: Path, labels: NDArray[Any], grid: Geometry) -> None:
    """Compare labels with what an independent reader finds, by world coordinates."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    array = np.asarray(volume.array)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    theirs = Geometry(shape=array.shape, affine=affine)
    transform = canonical_transform(theirs)
    assert transform.apply_geometry(theirs).matches(grid)
    assert np.array_equal(transform.apply(array), labels)


@pytest.mark.parametrize("seed", range(4))
def test_labels_of_an_oblique_series_come_back_equal(
    tmp_path: Path, dicom_files: ModuleType, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    row, column = turned[:, 0], turned[:, 1]
    step = np.cross(row, column) * rng.uniform(0.5, 4) * (-1) ** seed
    shape = (6, 9, 5)
    dicom_files.write_series(
        tmp_path / "mr",
        rng.integers(0, 99, shape).astype(np.int16),
        sop_class=dicom_files.MR,
        places=dicom_files.positions(6, origin=rng.uniform(-300, 300, 3), step=step)[
            :: (-1) ** seed
        ],
        orientation=[float(f"{value:.14g}") for value in (*row, *column)],
        spacing_yx=tuple(rng.uniform(0.3, 2, 2).round(6).tolist()),
    )
    volume = open_volume(tmp_path / "mr")
    labels = rng.integers(0, 4, volume.geometry.shape).astype(np.uint8)
    path = write_labels(labels, tmp_path / "out.dcm", like=volume)
    back = open_labels(path)
    assert back.geometry.matches(volume.geometry, 1e-6)
    assert np.abs(back.geometry.affine - volume.geometry.affine).max() < 1e-9
    assert np.array_equal(np.asarray(back.data[0]), labels)
    assert back.dtype == np.uint8
    checked_by_highdicom(path, labels, volume.geometry)


def test_labels_of_a_multi_frame_object_name_its_frames(
    tmp_path: Path, dicom_files: ModuleType
) -> None:
    places = dicom_files.positions(4)[::-1]
    pixels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    source = dicom_files.write_enhanced(tmp_path / "mf.dcm", pixels, places)
    volume = open_volume(source)
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[1, 2:4, 3] = 1
    path = write_labels(labels, tmp_path / "out.dcm", like=volume)
    checked_by_highdicom(path, labels, volume.geometry)
    frames = dcmread(path).PerFrameFunctionalGroupsSequence
    meant = frames[1].DerivationImageSequence[0].SourceImageSequence[0]
    assert meant.ReferencedSOPInstanceUID == dcmread(source).SOPInstanceUID
    assert meant.ReferencedFrameNumber == 3  # stored from top to bottom


def test_names_colours_and_classes_never_used_are_kept(
    tmp_path: Path, series: Volume
) -> None:
    labels = np.zeros(series.geometry.shape, np.uint8)
    labels[2, 1:3, 1:3] = 3
    path = write_labels(
        labels,
        tmp_path / "out.dcm",
        like=series,
        names={1: "liver\\left", 3: "Tümör ж", 4: "n" * 90},
        colors={1: (230, 159, 0), 3: (0, 114, 178)},
    )
    found = open_labels(path).segments
    assert found is not None
    assert dict(found.names) == {
        1: "liver/left", 2: "label 2", 3: "Tümör ж", 4: "n" * 64,
    }  # fmt: skip
    assert dict(found.colors) == {1: (230, 159, 0), 3: (0, 114, 178)}
    first = dcmread(path).SegmentSequence[0]
    assert first.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert first.SegmentAlgorithmName == "E2MISeg"


def test_only_planes_with_labels_and_the_two_ends_have_frames(
    tmp_path: Path, series: Volume
) -> None:
    labels = np.zeros(series.geometry.shape, np.uint8)
    labels[2, 0, 0], labels[2, 1, 1] = 1, 2
    path = write_labels(labels, tmp_path / "out.dcm", like=series)
    frames = dcmread(path).PerFrameFunctionalGroupsSequence
    planes = [
        frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames
    ]
    assert planes == [10, 15, 15, 20]
    empty = np.zeros_like(labels)
    again = write_labels(empty, tmp_path / "empty.dcm", like=series)
    assert not np.asarray(open_labels(again).data).any()
    assert open_labels(again).geometry.matches(series.geometry)


def test_more_than_255_classes_become_a_label_map(
    tmp_path: Path, series: Volume
) -> None:
    labels = np.zeros(series.geometry.shape, np.uint16)
    labels[1, :, 0], labels[3, 2, 2] = 300, 65535
    path = write_labels(
        labels, tmp_path / "out.dcm", like=series, names={300: "a", 299: "never"}
    )
    assert dcmread(path).SegmentationType == "LABELMAP"
    back = open_labels(path)
    assert np.array_equal(np.asarray(back.data[0]), labels)
    assert back.segments is not None
    assert dict(back.segments.names) == {299: "never", 300: "a", 65535: "label 65535"}
    checked_by_highdicom(path, labels, series.geometry)
    with pytest.raises(WriteError, match="65535 segments"):
        write_labels(labels.astype(np.uint32) * 9, tmp_path / "b.dcm", like=series)


def test_it_belongs_to_the_study_and_refers_to_the_images(
    tmp_path: Path, series: Volume
) -> None:
    labels = np.ones(series.geometry.shape, np.uint8)
    path = write_labels(labels, tmp_path / "out.dcm", like=series)
    written = dcmread(path)
    sources = [dcmread(file) for file in sorted((tmp_path / "ct").iterdir())]
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate"):
        assert written[keyword].value == sources[0][keyword].value
    assert written.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert written.SeriesInstanceUID != sources[0].SeriesInstanceUID
    of_images = written.ReferencedSeriesSequence[0]
    assert of_images.SeriesInstanceUID == sources[0].SeriesInstanceUID
    by_place = {
        float(source.ImagePositionPatient[2]): source.SOPInstanceUID
        for source in sources
    }
    for frame in written.PerFrameFunctionalGroupsSequence:
        z = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert image.ReferencedSOPInstanceUID == by_place[z]


def test_a_missing_slice_is_kept_empty_and_refers_to_nothing(
    tmp_path: Path, dicom_files: ModuleType
) -> None:
    places = np.delete(dicom_files.positions(8), 3, axis=0)
    dicom_files.write_series(
        tmp_path / "ct", np.ones((7, 4, 4), np.int16), places=places
    )
    volume = open_volume(tmp_path / "ct")
    labels = np.ones((8, 4, 4), np.uint8)
    path = write_labels(labels, tmp_path / "out.dcm", like=volume)
    assert np.array_equal(np.asarray(open_labels(path).data[0]), labels)
    frames = dcmread(path).PerFrameFunctionalGroupsSequence
    assert [len(frame.DerivationImageSequence) for frame in frames] == [
        *[1] * 3, 0, *[1] * 4,
    ]  # fmt: skip


def test_a_tilted_gantry_stays_a_shear(tmp_path: Path, dicom_files: ModuleType) -> None:
    places = dicom_files.positions(5, step=(0.0, 1.1, 2.5))
    dicom_files.write_series(
        tmp_path / "ct", np.ones((5, 4, 4), np.int16), places=places
    )
    volume = open_volume(tmp_path / "ct")
    labels = np.zeros((5, 4, 4), np.uint8)
    labels[2] = np.eye(4)
    back = open_labels(write_labels(labels, tmp_path / "out.dcm", like=volume))
    assert back.geometry.matches(volume.geometry)
    assert np.array_equal(np.asarray(back.data[0]), labels)


def test_a_single_slice_and_poor_headers_do(
    tmp_path: Path, dicom_files: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(UserWarning, match="Invalid value"):
        dicom_files.write_series(
            tmp_path / "ct",
            np.ones((1, 4, 4), np.int16),
            PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100",
            PatientID=None, PatientBirthDate="no date", PatientSex="male",
            StudyDate=None, AccessionNumber=None,
        )  # fmt: skip
    caplog.clear()  # of what writing the series has said
    volume = open_volume(tmp_path / "ct")
    labels = np.eye(4, dtype=np.uint8)[None]
    path = write_labels(labels, tmp_path / "out.dcm", like=volume)
    assert np.array_equal(np.asarray(open_labels(path).data[0]), labels)
    assert "no date" not in caplog.text
    assert "male" not in caplog.text
    assert dcmread(path).PatientName == "Müller^Jörg"


def test_uids_that_were_blanked_come_from_the_meta_header_or_anew(
    tmp_path: Path, dicom_files: ModuleType
) -> None:
    blank = dict.fromkeys(
        ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"), ""
    )
    files = dicom_files.write_series(tmp_path / "ct", np.ones((3, 4, 4)), **blank)
    volume = open_volume(tmp_path / "ct")
    labels = np.ones((3, 4, 4), np.uint8)
    written = dcmread(write_labels(labels, tmp_path / "out.dcm", like=volume))
    frames = written.PerFrameFunctionalGroupsSequence
    images = [
        frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in frames
    ]
    assert [image.ReferencedSOPInstanceUID for image in images] == [
        dcmread(file).file_meta.MediaStorageSOPInstanceUID for file in files
    ]
    assert written.StudyInstanceUID


def test_what_cannot_be_dicom_is_refused_with_other_formats(
    tmp_path: Path, series: Volume
) -> None:
    labels = np.ones((2, 3, 4), np.uint8)
    other = Volume.from_array(labels, spacing=(1, 1, 1))
    with pytest.raises(WriteError, match=r"no DICOM series.*\.nii\.gz"):
        write_labels(labels, tmp_path / "out.dcm", like=other)
    image = np.ones(series.geometry.shape, np.float32)
    with pytest.raises(WriteError, match=r"an image.*\.nii\.gz"):
        write_image(image, tmp_path / "out.dcm", like=series)
    os.remove(sorted((tmp_path / "ct").iterdir())[0])  # noqa: PTH107
    with pytest.raises(ReadError, match="No such file"):
        write_labels(
            np.ones(series.geometry.shape, np.uint8), tmp_path / "out.dcm", like=series
        )
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]


def test_a_file_that_reads_back_differently_is_not_left(
    tmp_path: Path, series: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.dcm"
    labels = np.ones(series.geometry.shape, np.uint8)
    write_labels(labels, path, like=series)
    before = path.read_bytes()
    pack = segment_packing.pack_frames

    def flipped(*args: Any, **options: Any) -> Any:
        frames = pack(*args, **options)
        pixels = bytes([frames.pixels[0] ^ 1]) + frames.pixels[1:]
        object.__setattr__(frames, "pixels", pixels)
        return frames

    monkeypatch.setattr(segmentation_writer, "pack_frames", flipped)
    with pytest.raises(WriteError, match="other voxels"):
        write_labels(labels, path, like=series, overwrite=True)
    assert path.read_bytes() == before
    assert sorted(found.name for found in tmp_path.iterdir()) == ["ct", "out.dcm"]


def test_no_message_tells_who_the_patient_is(
    tmp_path: Path,
    series: Volume,
    dicom_files: ModuleType,
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = np.ones(series.geometry.shape, np.uint8)
    file = sorted((tmp_path / "ct").iterdir())[0]
    broken = dcmread(file)
    broken.StudyInstanceUID = generate_uid()  # of another study: highdicom objects
    broken.save_as(file)
    with pytest.raises(WriteError, match="break DICOM's rules") as caught:
        write_labels(labels, tmp_path / "out.dcm", like=series)
    for text in (str(caught.value), caplog.text):
        assert dicom_files.CANARY not in text
        assert dicom_files.CANARY_DATE not in text


@pytest.mark.parametrize(
    "source",
    [
        "dicom/brain_hippocrop/Study1",
        "dicom/dcmqi_small/23x38x3/multiframe",
    ],
)
def test_labels_of_public_series_come_back_equal(tmp_path: Path, source: str) -> None:
    if not (SHARED / source).exists():
        pytest.skip("public data are not here")
    volume = open_volume(SHARED / source)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, volume.geometry.shape).astype(np.uint8)
    path = write_labels(labels, tmp_path / "out.dcm", like=volume)
    back = open_labels(path)
    assert np.array_equal(np.asarray(back.data[0]), labels)
    assert back.geometry.matches(volume.geometry)
    checked_by_highdicom(path, labels, volume.geometry)


def test_labels_from_elsewhere_become_a_segmentation_of_the_series(
    tmp_path: Path, series: Volume
) -> None:
    values = np.arange(5 * 7 * 6).reshape(series.geometry.shape) % 3
    labels = tmp_path / "labels.nii.gz"
    write_labels(values.astype(np.uint8), labels, like=series)
    out = tmp_path / "seg.dcm"
    with pytest.raises(WriteError, match="--like FOLDER"):
        convert(labels, out)
    result = convert(labels, out, ConversionOptions(like=tmp_path / "ct"))
    assert result.kind == "labels"
    back = open_labels(out)
    assert back.geometry.matches(series.geometry)
    assert np.array_equal(np.asarray(back.data[0]), values)
    other = Volume.from_array(
        values.astype(np.uint8),
        Geometry.from_spacing(values.shape, series.geometry.spacing),
    )
    moved = write_labels(other.data[0], tmp_path / "moved.nii", like=other)
    with pytest.raises(GeometryError, match="mm apart") as told:
        convert(moved, tmp_path / "b.dcm", ConversionOptions(like=tmp_path / "ct"))
    assert "\n" not in str(told.value)


def test_a_series_tells_of_segmentations_beside_it(
    tmp_path: Path, series: Volume
) -> None:
    labels = np.ones(series.geometry.shape, np.uint8)
    write_labels(labels, tmp_path / "ct" / "a.dcm", like=series)
    [note] = [n for n in open_volume(tmp_path / "ct").notes if "also here" in n]
    assert note == "also here: 1 segmentation (#part=2)"
    assert open_volume(tmp_path / "ct", part="2").segments is not None
    write_labels(labels, tmp_path / "ct" / "b.dcm", like=series)
    notes = open_volume(tmp_path / "ct").notes
    assert "also here: 2 segmentations (#part=2, #part=3)" in notes


def test_a_model_s_labels_are_automatic_and_two_saves_are_told_apart(
    tmp_path: Path, series: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.ones(series.geometry.shape, np.uint8)
    found = []
    for number, model in enumerate(("", "lesions\\v2")):
        monkeypatch.setattr(segment_template.time, "time", lambda n=number: 1.8e9 + n)
        path = tmp_path / f"{number}.dcm"
        write_labels(labels, path, like=series, model=model)
        found.append(dcmread(path))
    drawn, predicted = found
    assert drawn.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert predicted.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert predicted.SegmentSequence[0].SegmentAlgorithmName == "lesions/v2"
    assert drawn.SeriesDescription == "E2MISeg labels"
    assert predicted.SeriesDescription == "E2MISeg lesions/v2"
    assert predicted.SeriesNumber == drawn.SeriesNumber + 1
    assert predicted.SeriesDate == predicted.ContentDate
