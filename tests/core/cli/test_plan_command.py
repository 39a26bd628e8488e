"""`e2miseg train`: the plan that is shown, kept, and stays."""

import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from e2miseg_core import __version__
from e2miseg_core.cli import run_command
from e2miseg_core.model_card import read_card
from e2miseg_core.training.splits import split_cases


def train(dataset: Path, run: Path, *options: str) -> int:
    arguments = ["train", str(dataset), "-o", str(run), "--preset", "tiny"]
    return run_command([*arguments, "--label", "1=box", "--device", "cpu", *options])


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_plan_is_shown_with_reasons_and_nothing_is_trained(
    dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = ("--plan-only", "--patch", "8,16,16", "--channel", "CT")
    assert train(dataset_folder, run, *options) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Plan for 7 cases of 20 x 20 x 12 voxels (median)" in shown
    assert "share of labels: box " in shown
    assert "7 cases train, 1 choose the weights, 2 stay unseen" in shown
    assert "8 x 16 x 16 voxels" in shown
    assert "your choice; the rules say" in shown
    assert "clip to" in shown
    made = {path.name for path in run.iterdir()}
    assert made == {".lock", "fingerprint.json", "plan.json"}
    # Again, for programs: the same plan.
    assert train(dataset_folder, run, *options, "--json") == 0
    result = events(capsys)[-1]
    assert result["event"] == "result"
    assert result["plan"] == json.loads((run / "plan.json").read_text())["plan"]
    assert result["plan"]["chosen"] == ["patch_size"]
    split = result["split"]
    counts = {part: len(names) for part, names in split.items()}
    assert counts == {"training": 7, "selection": 1, "unseen": 2}
    assert {*chain(*split.values())} == {f"case_{n}" for n in range(10)}


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--spacing", "1,1"], "--spacing 1,1"),
        (["--spacing", "0,1,1"], "--spacing 0,1,1"),
        (["--slice-axis", "y"], "--slice-axis for a network of volumes"),
        (["--precision", "float8"], "float8"),
        (["--split", "nosuch.json"], "nosuch.json cannot be read (No such file"),
        (["--patch", "8,16,a"], "--patch 8,16,a"),
        (["--slice-axis", "w"], "--slice-axis w"),
        (["--normalization", "minmax"], "minmax"),
        (["--patch", "8,16,17"], "multiples of (2, 4, 4)"),
    ],
)
def test_choices_that_cannot_be_read_are_one_line(
    dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: list[str],
    told: str,
) -> None:
    assert train(dataset_folder, tmp_path / "run", "--plan-only", *option) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert told in said
    assert not (tmp_path / "run").exists()


def test_the_plan_is_in_the_card_and_a_resumed_run_keeps_it(
    dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = ["--epochs", "1", "--iterations", "1", "--precision", "float32"]
    chosen = ["--patch", "8,16,16", "--normalization", "nonzero"]
    assert train(dataset_folder, run, *options, *chosen, "--json") == 0
    told = [event["plan"] for event in events(capsys) if "plan" in event]
    card = read_card(run / "model.safetensors")
    stored = json.loads((run / "plan.json").read_text())["plan"]
    assert told == [stored]
    log = (run / "log.txt").read_text()
    assert f"e2miseg {__version__}, preset tiny, " in log
    assert "7 cases train, 1 choose, 2 unseen" in log
    assert "reporting on 2 unseen cases" in log
    assert "wrote model.safetensors; unseen Dice" in log
    assert card.training["plan"] == stored
    assert card.patch_size == (8, 16, 16)
    assert card.normalizations[0].nonzero
    assert card.training["recipe"]["batch_size"] == stored["batch_size"]
    # Without the options it goes on with its plan; others are refused.
    assert train(dataset_folder, run, *options, "--resume", "--plan-only") == 0
    assert "8 x 16 x 16 voxels" in capsys.readouterr().out
    assert train(dataset_folder, run, *options, "--resume", "--batch-size", "9") == 2
    assert "batch_size 9; needed: 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--label", "²=x"], "--label ²=x"),
        (["--label", "99999999999999999999=x"], "--label 9999"),
        (["--set", "seed=99999999999999999999999"], "a seed of 23 digits"),
        (["--set", "batch_size=7"], "use --batch-size"),
        (["--set", "batch_size=99", "--resume"], "use --batch-size"),
    ],
)
def test_values_that_cannot_be_are_one_line(
    dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: list[str],
    told: str,
) -> None:
    assert train(dataset_folder, tmp_path / "run", "--plan-only", *option) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert told in said


def test_a_patch_beyond_this_machine_is_noted(
    dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(dataset_folder, run, "--plan-only", "--patch", "2048,2048,2048") == 0
    said = " ".join(capsys.readouterr())
    assert "this machine has" in said
    assert "is padding" in said
    assert "e+" not in said


def test_an_unseen_case_that_cannot_be_read_is_told_before_training(
    dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "set"
    shutil.copytree(dataset_folder, copy)
    names = [f"case_{number}" for number in range(10)]
    (unseen, *_) = split_cases(names, fold=0).unseen
    path = copy / "labels" / f"{unseen}.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])
    assert train(copy, tmp_path / "run", "--plan-only") == 2
    assert path.name in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
