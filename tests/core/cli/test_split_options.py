"""`e2miseg train`: who stays unseen, as the command line says."""

import json
from pathlib import Path

import pytest

from e2miseg_core.cli import run_command


def plan(dataset: Path, run: Path, *options: str) -> int:
    arguments = ["train", str(dataset), "-o", str(run), "--preset", "tiny"]
    return run_command([*arguments, "--plan-only", "--device", "cpu", *options])


def test_only_the_training_part_of_a_given_split_is_planned_for(
    dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = tmp_path / "splits_final.json"
    folds = [
        {"train": [f"case_{i}" for i in range(8)], "val": ["case_8", "case_9"]},
        {"train": [f"case_{i}" for i in range(4)], "val": ["case_7"]},
    ]
    split.write_text(json.dumps(folds))
    options = ("--split", str(split), "--fold", "1", "--group", "case_.")
    assert plan(dataset_folder, tmp_path / "run", *options) == 0
    # of four cases one chooses the weights
    assert "Plan for 3 cases" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--group", "patient"], "finds no group"),
        (["--group", "case_"], "10 labelled cases in 1 group;"),
        (["--split", "missing.json"], "cannot be read"),
        (["--fold", "5"], "fold 5"),
        (["--channel", "T1", "--channel", "T2"], "2 names of channels"),
    ],
)
def test_splits_that_cannot_be_are_one_line(
    dataset_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    assert plan(dataset_folder, tmp_path / "run", *options) == 2
    said = capsys.readouterr().err
    assert told in " ".join(said.split())
    assert "Traceback" not in said
