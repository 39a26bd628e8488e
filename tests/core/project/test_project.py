"""Projects: made, opened, refused; their cases and model versions."""

import json
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from e2miseg_core.errors import ConfigError, ModelError, ReadError, WriteError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store, open_volume
from e2miseg_core.progress import Progress, run
from e2miseg_core.project import Project, complete_prediction
from e2miseg_core.volume import Volume


def test_a_project_opens_as_it_was_made(
    project: Project, tiny_model_path: Path
) -> None:
    again = Project.open(project.path)
    assert [label.value for label in again.classes] == [2, 7]
    assert again.classes == project.classes
    assert again.cases == ()
    assert [version.number for version in again.versions] == [0]
    assert again.version.path.read_bytes() == tiny_model_path.read_bytes()
    assert again.version.card.name == "test model"
    assert again.version.parent is None
    assert sorted(p.name for p in project.path.iterdir()) == [
        "cases",
        "jobs",
        "project.json",
        "versions",
    ]


def test_what_cannot_be_made_leaves_nothing(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    with pytest.raises(WriteError, match=r"ends in \.e2m"):
        Project.create(tmp_path / "study", model=tiny_model_path)
    with pytest.raises(ModelError, match="no model 'unknown'"):
        Project.create(tmp_path / "study.e2m", model="unknown")
    with pytest.raises(WriteError, match="no folder"):
        Project.create(tmp_path / "none" / "study.e2m", model=tiny_model_path)
    assert list(tmp_path.iterdir()) == []
    Project.create(tmp_path / "study.e2m", model=tiny_model_path)
    with pytest.raises(WriteError, match="exists"):
        Project.create(tmp_path / "study.e2m", model=tiny_model_path)
    assert [p.name for p in tmp_path.iterdir()] == ["study.e2m"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text[:40], "damaged project.json"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "of format 2"),
        (lambda text: text.replace('"cases"', '"others"'), "without"),
        (lambda text: text.replace('"color"', '"paint"'), "unknown classes"),
        (lambda _: None, "is no project"),
    ],
)
def test_what_is_no_sound_project_is_told(
    project: Project, change: Callable[[str], str | None], told: str
) -> None:
    file = project.path / "project.json"
    content = change(file.read_text())
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ReadError, match=told) as caught:
        Project.open(project.path)
    assert "\n" not in str(caught.value)


def test_cases_are_named_after_their_images(project: Project, image_path: Path) -> None:
    volume = open_volume(image_path)
    names = [
        project.add_case(volume, name=name).name
        for name in (None, None, "../a b/ü", "..", "SCAN")
    ]
    assert names == ["scan", "scan-2", "a_b", "case", "SCAN-3"]
    assert Project.open(project.path).cases == tuple(names)
    case = Project.open(project.path).case("scan-2")
    assert case.geometry.matches(volume.geometry)
    assert case.geometry.shape == volume.geometry.shape
    assert case.channels == volume.channels
    assert Path(case.image_uri) == image_path
    np.testing.assert_array_equal(case.open_image().data, volume.data)
    labels = open_volume(case.labels_path)
    assert labels.geometry.matches(volume.geometry)
    assert labels.dtype == np.uint8
    assert not labels.data.compute().any()
    with pytest.raises(ConfigError, match="no case 'none'"):
        project.case("none")


def test_an_image_that_the_model_cannot_see_is_refused(
    project: Project, tmp_path: Path
) -> None:
    geometry = Geometry.from_spacing((4, 5, 6), (1.0, 1.0, 1.0))
    path = tmp_path / "two.ome.zarr"
    create_store(path, geometry, np.uint8, kind="image", channels=("a", "b"))
    with pytest.raises(ModelError, match="2 channels"):
        project.add_case(open_volume(path))
    with pytest.raises(ConfigError, match="only in memory"):
        project.add_case(Volume.from_array(np.zeros((4, 5, 6)), geometry))
    assert project.cases == ()
    assert list((project.path / "cases").iterdir()) == []


def test_an_image_can_be_copied_in(project: Project, tmp_path: Path) -> None:
    flipped = np.diag([-1.0, 1.2, 0.8, 1.0])[:, [2, 0, 1, 3]]
    geometry = Geometry(shape=(4, 5, 6), affine=flipped)
    voxels = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)

    def fill(path: Path) -> Generator[Progress, None, None]:
        create_store(path, geometry, np.uint8, kind="image")[:] = voxels
        yield Progress(done=1, total=1, stage="copying")

    case = run(project.add_copied_case("from memory", fill))
    expected = Volume.from_array(voxels, geometry)
    assert case.name == "from_memory"
    assert case.geometry.matches(expected.geometry)
    moved = tmp_path / "moved.e2m"
    project.path.rename(moved)
    image = Project.open(moved).case("from_memory").open_image()
    np.testing.assert_array_equal(image.data, expected.data)

    def fail(path: Path) -> Generator[Progress, None, None]:
        create_store(path, geometry, np.uint8, kind="image")
        yield Progress(done=1, total=1, stage="copying")
        raise KeyError

    with pytest.raises(KeyError):
        run(Project.open(moved).add_copied_case("other", fail))
    assert [p.name for p in (moved / "cases").iterdir()] == ["from_memory"]


def test_versions_are_kept_used_and_refused(
    project: Project, tiny_model_path: Path, tmp_path: Path
) -> None:
    first = project.add_version(
        tiny_model_path, figures={"wrong": [9, 4]}, sentence="Kept: better."
    )
    assert (first.number, first.parent, first.figures) == (1, 0, {"wrong": [9, 4]})
    assert tiny_model_path.exists()
    project.refuse_version(figures={"wrong": [4, 5]}, sentence="Refused: worse.")
    second = project.add_version(tiny_model_path, figures={}, sentence="Kept.")
    assert (second.number, second.parent) == (2, 1)
    assert project.use_version(0).number == 0
    assert Project.open(project.path).version.number == 0
    assert [v.number for v in project.versions] == [0, 1, 2]
    assert (
        project.add_version(
            tiny_model_path, figures={}, sentence="Kept.", parent=2
        ).parent
        == 2
    )
    lines = project.history()
    assert [line["event"] for line in lines] == [
        "kept",
        "refused",
        "kept",
        "used",
        "kept",
    ]
    assert lines[1]["sentence"] == "Refused: worse."
    with pytest.raises(ConfigError, match="no model version 9"):
        project.use_version(9)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(tiny_model_path.read_bytes()[:-9])
    with pytest.raises(ModelError):
        project.add_version(broken, figures={}, sentence="")
    assert len(list((project.path / "versions").iterdir())) == 4
    (project.path / "versions" / "0001" / "version.json").unlink()
    with pytest.raises(ReadError, match=r"version\.json"):
        _ = project.versions


def test_two_programs_lose_nothing_of_each_other(
    project: Project, image_path: Path, tiny_model_path: Path
) -> None:
    """The worker adds a version while the viewer adds cases."""
    other = Project.open(project.path)
    volume = open_volume(image_path)
    for _ in range(3):
        project.add_case(volume)
        other.add_version(tiny_model_path, figures={}, sentence="Kept.")
    assert project.cases == other.cases == ("scan", "scan-2", "scan-3")
    assert project.version.number == other.version.number == 3


def test_job_folders_differ(project: Project) -> None:
    folders = {project.new_job_folder() for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.parent == project.path / "jobs" for folder in folders)


def test_a_moved_image_is_found_or_told(
    project: Project, image_path: Path, tmp_path: Path
) -> None:
    case = project.add_case(open_volume(image_path))
    other = tmp_path / "other.nii.gz"
    image_path.rename(other)
    with pytest.raises(ReadError, match=r"scan\.nii\.gz of the case 'scan' is gone"):
        case.open_image()
    case.relocate(other)
    assert Path(case.image_uri) == other
    assert case.open_image().geometry.matches(case.geometry)
    damaged = bytearray(other.read_bytes())
    damaged[9] ^= 1  # a byte of the time stamp: the voxels are as they were
    (tmp_path / "third.nii.gz").write_bytes(bytes(damaged))
    with pytest.raises(ReadError, match="is not the image of the case 'scan'"):
        case.relocate(tmp_path / "third.nii.gz")
    assert Path(case.image_uri) == other
    # Project and image moved together.
    (tmp_path / "elsewhere").mkdir()
    shutil.move(project.path, tmp_path / "elsewhere" / "study.e2m")
    shutil.move(other, tmp_path / "elsewhere" / "other.nii.gz")
    moved = Project.open(tmp_path / "elsewhere" / "study.e2m").case("scan")
    assert Path(moved.image_uri) == tmp_path / "elsewhere" / "other.nii.gz"
    assert moved.open_image().data.any()


def test_an_image_in_a_folder_is_recognised_by_its_voxels(
    project: Project, tmp_path: Path
) -> None:
    geometry = Geometry.from_spacing((40, 50, 60), (1.0, 1.0, 1.0))
    path = tmp_path / "image.ome.zarr"
    store = create_store(path, geometry, np.float32, kind="image")
    store[:] = np.random.default_rng(0).normal(size=(40, 50, 60))
    case = project.add_case(open_volume(path))
    case.open_image()
    shutil.copytree(path, tmp_path / "copy.ome.zarr")
    case.relocate(tmp_path / "copy.ome.zarr")
    store[20, 25, 30] += 1
    with pytest.raises(ReadError, match="is not the image"):
        case.relocate(path)


def test_a_damaged_case_is_told(project: Project, image_path: Path) -> None:
    case = project.add_case(open_volume(image_path))
    file = case.folder / "case.json"
    stored: dict[str, Any] = json.loads(file.read_text())
    for wrong in ({**stored, "format": 2}, {"format": 1}):
        file.write_text(json.dumps(wrong))
        with pytest.raises(ReadError, match="cannot be understood"):
            project.case("scan")
    file.write_text("{")
    with pytest.raises(ReadError, match="missing or damaged"):
        project.case("scan")


def test_predictions_count_once_they_are_complete(
    make_case: Callable[..., Any], predict: Any
) -> None:
    case = make_case((4, 5, 6))
    assert case.prediction is None
    first, _ = predict(case, 1)
    begun = case.new_prediction_folder()
    assert begun.name == "0002"
    assert [p.number for p in case.predictions()] == [1]
    with pytest.raises(ReadError, match="no labels"):
        complete_prediction(begun, version=0, figures={})
    third, _ = predict(case, 3)
    assert (third.number, third.figures, third.version) == (3, {"seed": 3}, 0)
    assert case.prediction is not None
    assert case.prediction.number == 3
    assert case.merged is None
    assert first.error_map == first.folder / "error_map.ome.zarr"
    assert first.log_probabilities.name == "log_probabilities.ome.zarr"
    assert first.edges() is None


def test_a_frame_of_a_series_is_a_case_that_survives_moving(
    project: Project, tmp_path: Path
) -> None:
    """Two frames are two images, though they lie in one file."""
    series = np.arange(3 * 4 * 5 * 6, dtype=np.float32).reshape(5, 4, 3, 6)
    data = tmp_path / "data"
    data.mkdir()
    path = data / "heart#1.nii.gz"  # a name that looks like an address
    nib.save(nib.Nifti1Image(series, np.diag([1, 2, 3, 1])), path)
    case = project.add_case(open_volume(path, frame=4))
    assert case.name == "heart_1_frame4"
    assert case.image_uri == f"{path}#frame=4"
    seen = case.open_image().data[0].compute()
    np.testing.assert_array_equal(
        np.sort(seen.ravel()), np.sort(series[..., 4].ravel())
    )

    moved = tmp_path / "elsewhere"
    moved.mkdir()
    data.rename(moved / "data")
    project.path.rename(moved / "study.e2m")
    case = Project.open(moved / "study.e2m").case(case.name)
    assert case.image_uri == f"{moved / 'data' / 'heart#1.nii.gz'}#frame=4"
    np.testing.assert_array_equal(case.open_image().data[0], seen)

    renamed = moved / "renamed.nii.gz"
    (moved / "data" / "heart#1.nii.gz").rename(renamed)
    with pytest.raises(ReadError, match="is gone"):
        case.open_image()
    with pytest.raises(ReadError, match="is not the image"):
        case.relocate(f"{renamed}#frame=3")
    case.relocate(renamed)  # the frame is still the same
    assert case.image_uri == f"{renamed}#frame=4"
    np.testing.assert_array_equal(case.open_image().data[0], seen)
