"""`e2miseg edges` as a user or a program calls it."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2miseg_core.cli import run_command
from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.inference.project import predict_case_job
from e2miseg_core.io import open_volume
from e2miseg_core.model import Model
from e2miseg_core.progress import run
from e2miseg_core.project import Project


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [event for event in events if event["event"] == "result"]


@pytest.fixture
def image(dataset_folder: Path) -> Path:
    return dataset_folder / "images" / "case_3.nii.gz"


def test_edges_of_an_image(
    image: Path,
    tiny_model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "edges.csv"
    call = ["edges", str(image), "--model", str(tiny_model_path), "-o", str(table)]
    assert run_command([*call, "--json"]) == 0
    (told,) = results(capsys)
    listed = rows(table)
    assert len(listed) == len(told["edges"]) > 0
    assert told["note"] == "temperature of the model"
    geometry = open_volume(image).geometry
    for row, edge in zip(listed, told["edges"], strict=True):
        assert row["case"] == image.name
        assert int(row["number"]) == edge["number"]
        voxel = [int(row[axis]) for axis in "zyx"]
        assert voxel == edge["centre"]
        world = [float(row[f"world_{axis}_mm"]) for axis in "xyz"]
        np.testing.assert_allclose(world, geometry.world(voxel), atol=1e-3)
        np.testing.assert_allclose(world, edge["world_mm"], atol=1e-3)
        bounds = [(int(row[f"{a}_from"]), int(row[f"{a}_to"])) for a in "zyx"]
        assert bounds == [tuple(pair) for pair in edge["box"]]
        assert all(lo <= v < hi for v, (lo, hi) in zip(voxel, bounds, strict=True))
        assert row["classes"] == " ".join(map(str, edge["classes"]))
    assert run_command(call) == 2  # an existing table is kept
    assert run_command([*call, "--overwrite"]) == 0
    assert "uncertain edges hold" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["edges.csv"]


def test_edges_of_a_project(
    dataset_folder: Path,
    tiny_model_path: Path,
    tiny_model: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = Project.create(tmp_path / "study.e2m", model=tiny_model_path)
    table = tmp_path / "edges.csv"
    call = ["edges", "--project", str(project.path), "-o", str(table), "--overwrite"]
    for number in range(3):
        image = dataset_folder / "images" / f"case_{number}.nii.gz"
        project.add_case(open_volume(image))
    assert run_command(call) == 2
    assert "predict it first" in capsys.readouterr().err
    options = PredictionOptions(device="cpu", precision="float32")
    for name in ("case_0", "case_2"):
        run(predict_case_job(project.case(name), tiny_model, options, version=0))
    assert run_command([*call, "--json"]) == 0
    assert [one["case"] for one in results(capsys)] == ["case_0", "case_2"]
    assert {row["case"] for row in rows(table)} == {"case_0", "case_2"}
    assert run_command([*call, "--case", "case_2"]) == 0
    assert {row["case"] for row in rows(table)} == {"case_2"}
    assert run_command([*call, "--case", "case_1"]) == 2
    assert run_command([*call, "--case", "nobody"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["scan.nii.gz"],
        ["--model", "hippocampus"],
        ["scan.nii.gz", "--model", "hippocampus", "--project", "study.e2m"],
        ["scan.nii.gz", "--model", "hippocampus", "--case", "one"],
        ["missing.nii.gz", "--model", "hippocampus"],
        ["--project", "missing.e2m"],
    ],
)
def test_faults_are_one_line_and_leave_no_table(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "edges.csv"
    assert run_command(["edges", *arguments, "-o", str(table)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["edges.txt", "no/edges.csv"])
def test_the_table_s_name_is_checked(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["edges", "a.nii", "--model", "hippocampus", "-o", str(tmp_path / name)]
    assert run_command(call) == 2
    assert "ends in .csv" in capsys.readouterr().err
