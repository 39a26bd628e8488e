"""`e2miseg finetune`: the same function, told to people and to programs."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from e2miseg_core.cli import run_command

Make = Callable[..., Any]
QUICK = ["--steps", "3", "--device", "cpu", "--precision", "float32"]


def test_a_refused_model_is_no_failure(
    corrected_project: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = corrected_project()
    project = str(made.project.path)
    assert run_command(["finetune", "--project", project, "--json", *QUICK]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    result = events[-1]
    assert result["event"] == "result"
    assert result["kept"] is False
    assert result["version"] is None
    assert result["sentence"].startswith("Not kept: ")
    assert "training" in {e.get("stage") for e in events}
    arguments = ["finetune", "--project", project, "--resume", "-o", result["job"]]
    assert run_command(arguments) == 0
    assert "The model in use stays." in capsys.readouterr().out


def test_what_the_user_can_mend_is_one_line(
    corrected_project: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = corrected_project(1)
    call = ["finetune", "--project", str(made.project.path)]
    for more, said in (
        (QUICK, "4 corrected or accepted places"),
        (["--resume"], "no unfinished fine-tuning"),
        (["--resume", *QUICK], "--resume with other options"),
        (["--steps", "0"], "'--steps': "),
        (["--model", "nobody"], "--model with --project"),
    ):
        assert run_command([*call, *more]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
