"""`e2miseg train`: switches of the network."""

import json
from pathlib import Path
from typing import Any

import pytest

from e2miseg_core.cli import run_command


def plan(dataset: Path, run: Path, *options: str) -> int:
    arguments = ["train", str(dataset), "-o", str(run), "--label", "1=box"]
    arguments += ["--channel", "MR", "--device", "cpu", "--plan-only", "--json"]
    return run_command([*arguments, *options])


def planned_network(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = capsys.readouterr().out.splitlines()
    config: dict[str, Any] = json.loads(lines[-1])["plan"]["network"]["config"]
    return config


def test_switches_reach_the_planned_network(
    dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--network", "edge-head=true", "--network", "mfga.enabled=false"]
    assert plan(dataset_folder, tmp_path / "a", "--preset", "tiny", *options) == 0
    config = planned_network(capsys)
    assert config["edge_head"] is True
    assert config["mfga"]["enabled"] is False
    assert config["widths"] == [16, 32]  # of the preset


def test_the_published_form_is_planned_with_its_own_patch(
    dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--preset", "acdc", "--faithful", "--network", "hfr.fusion=sum"]
    assert plan(dataset_folder, tmp_path / "a", *options) == 0
    config = planned_network(capsys)
    assert config["hfr"]["as_coded"] is True
    assert config["hfr"]["fusion"] == "sum"
    assert config["patch_size"] == [16, 160, 160]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--faithful"], "published form of 'tiny'"),
        (["--network", "depth=3"], "'depth=3'"),
        (["--network", "n_classes=3"], "counted in the data set"),
        (["--network", "patch-size=[8,8,8]"], "--patch"),
        (["--network", "hfr.attention=false"], 'conv_merge="add"'),
    ],
)
def test_switches_that_do_not_fit_are_one_line(
    dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    assert plan(dataset_folder, tmp_path / "a", "--preset", "tiny", *options) == 2
    captured = capsys.readouterr()
    assert told in json.loads(captured.out.splitlines()[-1])["message"] + captured.err
    assert not (tmp_path / "a").exists()
