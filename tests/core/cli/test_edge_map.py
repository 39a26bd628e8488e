"""`e2miseg predict --edge-map`: for models with an edge head, and only for them."""

import json
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.cli import run_command
from e2miseg_core.io import open_volume


@pytest.fixture
def arguments(dataset_folder: Path, tmp_path: Path) -> list[str]:
    image = dataset_folder / "images" / "case_3.nii.gz"
    out, edges = tmp_path / "labels.nii.gz", tmp_path / "edges.nii.gz"
    return ["predict", str(image), "-o", str(out), "--edge-map", str(edges), "--model"]


def test_it_is_written_and_named_in_the_result(
    arguments: list[str],
    edge_model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command([*arguments, str(edge_model_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["outputs"] == {
        "labels": str(tmp_path / "labels.nii.gz"),
        "edge_map": str(tmp_path / "edges.nii.gz"),
    }
    found = open_volume(tmp_path / "edges.nii.gz")
    assert found.dtype == np.float32
    values = np.asarray(found.data)
    assert 0 <= values.min() < values.max() <= 1
    (tmp_path / "labels.nii.gz").unlink()
    assert run_command([*arguments, str(edge_model_path)]) == 2
    assert "edges.nii.gz exists" in capsys.readouterr().err.replace("\n", " ")


def test_another_model_is_refused_in_a_line(
    arguments: list[str],
    tiny_model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command([*arguments, str(tiny_model_path)]) == 2
    told = capsys.readouterr().err
    assert "without an edge head" in told
    assert "leave --edge-map out" in told
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())


def test_two_outputs_do_not_share_a_name(
    arguments: list[str], edge_model_path: Path, tmp_path: Path
) -> None:
    shared = ["--error-map", str(tmp_path / "edges.nii.gz")]
    assert run_command([*arguments, str(edge_model_path), *shared]) == 2
    assert not list(tmp_path.iterdir())
