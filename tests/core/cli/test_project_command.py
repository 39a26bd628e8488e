"""`e2miseg project`: made, shown, exported on the exact grid."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2miseg_core.cli import run_command
from e2miseg_core.io import open_labels, open_volume, write_image
from e2miseg_core.project import Edge, Project
from e2miseg_core.volume import Volume


@pytest.fixture
def images(tmp_path: Path, make_image: Callable[..., Volume]) -> list[Path]:
    found = []
    for seed in range(2):
        volume = make_image(seed, (7, 9, 8))
        path = tmp_path / f"scan{seed}.nii.gz"
        found.append(write_image(volume.data[0], path, like=volume))
    return found


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run_command(["project", *map(str, arguments), "--json"]) == 0
    event: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return event


def test_a_project_from_the_command_line(
    tmp_path: Path,
    images: list[Path],
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = tmp_path / "study.e2m", tmp_path / "out"
    made = call(capsys, "create", path, images[0], "--model", tiny_model_path)
    assert [case["name"] for case in made["cases"]] == ["scan0"]
    assert made["classes"] == {"2": "node", "7": "vessel"}
    assert call(capsys, "add", path, images[1])["added"] == ["scan1"]

    project = Project.open(path)
    case = project.case("scan1")
    box = ((1, 3), (2, 4), (0, 8))
    with project.lock(), case.open_labels() as store:
        store.levels[0][1:3, 2:4] = 7
    edge = Edge(
        number=1, box=box, centre=(2, 3, 4), expected_wrong=1, gain=0.1, classes=(7,)
    )
    case.review().append(edge, "corrected", prediction=1)
    described = call(capsys, "info", path)["cases"][1]
    assert described["verdicts"] == {"corrected": 1, "fine": 0, "skipped": 0}
    assert (described["predictions"], described["edges"]) == (0, None)
    assert described["image_found"]

    nrrd = call(capsys, "export", path, "-o", tmp_path / "n", "--suffix", ".nrrd")
    assert [Path(file).name for file in nrrd["files"]] == ["scan1.nrrd"]
    wrong = ["project", "export", str(path), "-o", str(out), "--suffix", ".xyz"]
    assert run_command(wrong) == 2
    assert "the suffix '.xyz'" in capsys.readouterr().err
    files = call(capsys, "export", path, "-o", out, "--authority")["files"]
    assert [Path(file).name for file in files] == [
        "scan1.nii.gz",
        "scan1_authority.nii.gz",
    ]
    image, labels = open_volume(images[1]), open_labels(out / "scan1.nii.gz")
    assert image.source is not None
    assert labels.source is not None
    assert labels.source.geometry.matches(image.source.geometry)
    expected = np.zeros((1, *image.geometry.shape), np.uint8)
    expected[0, 1:3, 2:4] = 7
    np.testing.assert_array_equal(labels.data, expected)
    authority = open_labels(out / "scan1_authority.nii.gz").data
    np.testing.assert_array_equal(authority, expected > 0)


def test_only_verdicts_that_stand_are_told(
    tmp_path: Path,
    images: list[Path],
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "study.e2m"
    call(capsys, "create", path, images[0], "--model", tiny_model_path)
    project = Project.open(path)
    case = project.case("scan0")
    with project.lock(), case.open_labels() as store:
        for number, verdict in enumerate(("fine", "fine", "corrected", "skipped")):
            edge = Edge(
                number=number + 1,
                box=((number, number + 1), (2, 4), (0, 8)),
                centre=(number, 3, 4),
                expected_wrong=1,
                gain=0.1,
                classes=(7,),
            )
            if verdict != "skipped":
                store.accept(edge.box)
            case.review().append(edge, verdict, prediction=1)
        store.undo()  # the corrected one
        store.levels[0][6] = 7
    described = call(capsys, "info", path)["cases"][0]
    assert described["verdicts"] == {"corrected": 0, "fine": 2, "skipped": 1}
    plane = case.geometry.shape[1] * case.geometry.shape[2]
    assert (described["painted"], described["drawn_voxels"]) == (1, plane)
    assert run_command(["project", "info", str(path)]) == 0
    assert "0 corrected, 2 fine, 1 painted" in capsys.readouterr().out


def test_what_the_user_can_mend_is_told_in_a_line(
    tmp_path: Path,
    images: list[Path],
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = tmp_path / "study.e2m", tmp_path / "out"
    missing = tmp_path / "none.nii.gz"
    create = ["project", "create", str(path), "--model", str(tiny_model_path)]
    assert run_command([*create, str(images[0]), str(missing)]) == 2
    assert not path.exists()
    assert run_command([*create, str(images[0])]) == 0
    assert run_command(["project", "info", str(path)]) == 0
    text = capsys.readouterr().out
    assert "scan0" in text
    assert "test model" in text
    draw(path)
    assert run_command(["project", "export", str(path), "-o", str(out)]) == 0
    assert run_command(["project", "export", str(path), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "scan0.nii.gz exists" in said
    assert "--overwrite" in said
    export = ["project", "export", str(path), "-o", str(out), "--overwrite"]
    assert run_command(export) == 0
    images[0].unlink()
    assert run_command(["project", "info", str(path)]) == 0
    assert "missing: " in capsys.readouterr().out
    assert run_command(export) == 2
    assert "is gone" in capsys.readouterr().err


def test_an_image_becomes_one_case(
    tmp_path: Path,
    images: list[Path],
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "study.e2m"
    first, second = map(str, images)
    again = str(tmp_path / "." / ".." / tmp_path.name / images[0].name)
    create = ["project", "create", str(path), "--model", str(tiny_model_path)]
    assert run_command([*create, first, again]) == 2
    assert "scan0.nii.gz is named twice" in capsys.readouterr().err
    assert not path.exists()
    assert run_command([*create, first]) == 0
    assert run_command(["project", "add", str(path), second, second]) == 2
    assert "scan1.nii.gz is named twice" in capsys.readouterr().err
    assert run_command(["project", "add", str(path), second, again]) == 2
    assert "is a case of study.e2m already" in capsys.readouterr().err
    assert Project.open(path).cases == ("scan0",)


def draw(path: Path, case: str = "scan0") -> None:
    project = Project.open(path)
    with project.lock(), project.case(case).open_labels() as store:
        store.levels[0][1:3, 2:4] = 7


def test_what_nobody_has_labelled_is_not_exported(
    tmp_path: Path,
    images: list[Path],
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = tmp_path / "study.e2m", tmp_path / "out"
    call(capsys, "create", path, *images, "--model", tiny_model_path)
    export = ["project", "export", str(path), "-o", str(out)]
    assert run_command(export) == 2
    said = capsys.readouterr().err
    assert "scan0 is left out: it is not predicted, nor drawn in" in said
    assert "nothing to export in study.e2m" in said
    assert list(out.iterdir()) == []
    draw(path, "scan1")
    assert run_command(export) == 0
    said = capsys.readouterr().err
    assert "scan0 is left out" in said
    assert "scan1 is not predicted yet" in said
    assert [file.name for file in out.iterdir()] == ["scan1.nii.gz"]


def test_a_project_that_is_open_is_exported_when_its_labels_are_whole(
    tmp_path: Path,
    images: list[Path],
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = tmp_path / "study.e2m", tmp_path / "out"
    call(capsys, "create", path, images[0], "--model", tiny_model_path)
    draw(path)
    export = ["project", "export", str(path), "-o", str(out), "--overwrite"]
    project = Project.open(path)
    case = project.case("scan0")
    with project.lock(), case.open_labels() as store:
        assert run_command(export) == 0
        before = np.asarray(open_labels(out / "scan0.nii.gz").data[0])
        assert (before[1:3, 2:4] == 7).all()
        assert np.count_nonzero(before) == (before[1:3, 2:4]).size
        case.set_merged(None, merging=1)
        assert run_command(export) == 2
        assert "not in its labels on disk yet" in capsys.readouterr().err
        case.set_merged(None, merging=None)
        store.levels[0][5] = 2
    with project.lock(), case.open_labels():
        assert run_command(export) == 0
    labels = np.asarray(open_labels(out / "scan0.nii.gz").data[0])
    assert (labels[5] == 2).all()
    assert [file.name for file in out.iterdir()] == ["scan0.nii.gz"]


def test_cases_are_predicted_around_what_a_human_said(
    tmp_path: Path,
    images: list[Path],
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "study.e2m"
    call(capsys, "create", path, *images, "--model", tiny_model_path)
    project = Project.open(path)
    case = project.case("scan1")
    with project.lock(), case.open_labels() as store:
        store.levels[0][1:3, 2:4] = 7
    done = call(capsys, "predict", path, "--case", "scan1", "--device", "cpu")
    assert (done["case"], done["prediction"]) == ("scan1", 1)
    with project.lock(), case.open_labels() as store:
        labels = np.asarray(store.levels[0][:, :, :])
    predicted = np.asarray(open_labels(case.prediction.labels).data[0])
    mine = np.zeros(labels.shape, bool)
    mine[1:3, 2:4] = True
    assert (labels[mine] == 7).all()
    np.testing.assert_array_equal(labels[~mine], predicted[~mine])
    assert project.case("scan0").prediction is None
    assert call(capsys, "predict", path, "--device", "cpu")["prediction"] == 2


def test_a_case_is_told_where_its_image_is_now(
    tmp_path: Path,
    images: list[Path],
    tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "study.e2m"
    call(capsys, "create", path, images[0], "--model", tiny_model_path)
    moved = images[0].rename(tmp_path / "moved.nii.gz")
    assert not call(capsys, "info", path)["cases"][0]["image_found"]
    wrong = ["project", "relocate", str(path), "scan0", str(images[1])]
    assert run_command(wrong) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert call(capsys, "relocate", path, "scan0", moved)["image"] == str(moved)
    assert call(capsys, "info", path)["cases"][0]["image_found"]
