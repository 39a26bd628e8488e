"""Images that are no single file: parts, DICOM folders, URLs."""

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from e2miseg_core.errors import ChoiceError, ReadError, WriteError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store, open_labels, open_volume
from e2miseg_core.io.naming import same_place
from e2miseg_core.progress import run
from e2miseg_core.project import Case, Project, cases
from e2miseg_core.project.export import export_labels

SERIES = {"a": 4, "b": 5}  # slices


def write_slice(
    path: Path, pixels: NDArray[np.uint16], height: float, uid: str
) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", uid
    dataset.FrameOfReferenceUID, dataset.Modality = "1.2.4", "CT"
    dataset.ImagePositionPatient = [-10.0, 4.0, height]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.7], 2.0
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder of two DICOM series."""
    folder = tmp_path / "data" / "study"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(2)
    for number, (name, depth) in enumerate(SERIES.items()):
        for z in range(depth):
            pixels = rng.integers(0, 900, (6, 7), np.uint16)
            path = folder / f"{name}{z}.dcm"
            write_slice(path, pixels, 2.0 * z, f"1.2.5.{number}")
    return folder


def test_a_dicom_series_is_a_case_that_survives_moving(
    project: Project, study: Path, tmp_path: Path
) -> None:
    with pytest.raises(ChoiceError) as told:
        open_volume(study)
    parts = [choice.part for choice in told.value.choices]
    volume = open_volume(study, part=parts[1])
    case = project.add_case(volume)
    assert same_place(case.image_uri, f"{study}#part={parts[1]}")
    assert case.geometry.shape[0] == SERIES["b"]
    seen = np.asarray(case.open_image().data)
    np.testing.assert_array_equal(seen, volume.data)

    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(study.parent, moved / "data")
    shutil.move(project.path, moved / "study.e2m")
    case = Project.open(moved / "study.e2m").case(case.name)
    np.testing.assert_array_equal(case.open_image().data, seen)

    shutil.move(moved / "data" / "study", moved / "away")
    with pytest.raises(ReadError, match="is gone"):
        case.open_image()
    with pytest.raises(ReadError, match="is not the image"):
        case.relocate(f"{moved / 'away'}#part={parts[0]}")
    case.relocate(moved / "away")
    np.testing.assert_array_equal(case.open_image().data, seen)

    write_slice(moved / "away" / "b2.dcm", np.zeros((6, 7), np.uint16), 4.0, "1.2.5.1")
    with pytest.raises(ReadError, match="is not the image"):
        case.open_image()


def test_labels_of_a_dicom_series_are_exported_on_its_grid(
    project: Project, study: Path, tmp_path: Path
) -> None:
    image = open_volume(study, part="1")
    case = project.add_case(image, name="one")
    with project.lock(), case.open_labels() as store:
        store.levels[0][1, 2:4, 3:6] = 7
    written = run(export_labels(project, tmp_path / "out"))["one"]
    assert [path.name for path in written] == ["one.nii.gz"]
    labels = open_labels(written[0])
    assert labels.geometry.matches(image.geometry)
    found = np.argwhere(np.asarray(labels.data[0]) == 7)
    assert found.tolist() == [[1, y, x] for y in (2, 3) for x in (3, 4, 5)]


def test_two_data_sets_of_a_file_are_two_cases(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "both.h5"
    values = np.random.default_rng(1).normal(size=(2, 4, 5, 6)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["left"], file["right"] = values
    cases = [
        project.add_case(open_volume(f"{path}#part=/{side}"))
        for side in ("left", "right")
    ]
    assert [case.name for case in cases] == ["both_left", "both_right"]
    for case, expected in zip(cases, values, strict=True):
        again = Project.open(project.path).case(case.name)
        np.testing.assert_array_equal(again.open_image().data[0], expected)
    with pytest.raises(ReadError, match="is not the image"):
        cases[0].relocate(f"{path}#part=/right")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the test's folder."""
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_an_image_at_a_url_is_a_case(
    project: Project, server: str, tmp_path: Path
) -> None:
    geometry = Geometry.from_spacing((4, 5, 6), (2.0, 1.0, 1.0))
    store = create_store(tmp_path / "em.ome.zarr", geometry, np.uint8, kind="image")
    values = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    store[:] = values
    url = f"{server}/em.ome.zarr"
    case = project.add_case(open_volume(url))
    assert (case.name, case.image_uri) == ("em", url)
    assert case.description()["relative"] == ""
    np.testing.assert_array_equal(case.open_image().data[0], values)


def forget_the_part(case: Case) -> None:
    """Let a case know only the file or folder, as if it had held nothing else."""
    path = case.folder / "case.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "part": ""}))


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A file of two images of one shape."""
    path = tmp_path / "both.h5"
    values = np.random.default_rng(1).normal(size=(2, 4, 5, 6)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["left"], file["right"] = values
    return path


def test_an_image_is_found_among_those_that_came(
    project: Project, pair: Path, tmp_path: Path
) -> None:
    case = project.add_case(open_volume(pair, part="/right"))
    seen = np.asarray(case.open_image().data)
    forget_the_part(case)
    with pytest.raises(ChoiceError):
        open_volume(case.image_uri)
    np.testing.assert_array_equal(case.open_image().data, seen)
    assert case.image_uri == f"{pair}#part=/right"  # the next time it is known

    forget_the_part(case)
    moved = tmp_path / "moved.h5"
    shutil.move(pair, moved)
    case.relocate(moved)
    assert case.image_uri == f"{moved}#part=/right"
    np.testing.assert_array_equal(case.open_image().data, seen)


def test_a_series_is_found_though_others_came_into_its_folder(
    project: Project, study: Path
) -> None:
    for file in study.glob("b*.dcm"):
        file.unlink()
    case = project.add_case(open_volume(study))
    seen = np.asarray(case.open_image().data)
    for number, rows in enumerate((6, 8)):  # one alike, one not, and both before it
        for z in range(4):
            pixels = np.full((rows, 7), z, np.uint16)
            path = study / f"{number}{z}.dcm"
            write_slice(path, pixels, 2.0 * z, f"1.2.4.{number}")
    np.testing.assert_array_equal(case.open_image().data, seen)
    forget_the_part(case)
    np.testing.assert_array_equal(case.open_image().data, seen)
    forget_the_part(case)
    case.relocate(study)
    np.testing.assert_array_equal(case.open_image().data, seen)


def test_of_several_others_none_is_taken(project: Project, pair: Path) -> None:
    case = project.add_case(open_volume(pair, part="/right"))
    forget_the_part(case)
    with h5py.File(pair, "r+") as file:
        file["right"][0] += 1
    for attempt in (case.open_image, lambda: case.relocate(pair)):
        with pytest.raises(ReadError, match="none of the 2 images") as told:
            attempt()
        assert not isinstance(told.value, ChoiceError)
        assert "\n" not in str(told.value)


def test_a_project_that_may_not_be_written_still_finds_its_image(
    project: Project, pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = project.add_case(open_volume(pair, part="/left"))
    forget_the_part(case)

    def refuse(*_: object) -> None:
        raise WriteError(found="no right", needed="it", do="get it")

    monkeypatch.setattr(cases, "update_case_description", refuse)
    source = case.open_image().source
    assert source is not None
    assert source.uri.endswith("/left")
