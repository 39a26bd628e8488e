"""`e2miseg simulate` as a user or a program calls it."""

import json

import pytest

from e2miseg_core.cli import run_command


@pytest.fixture
def arguments(labelled_folder, tiny_model_path, tmp_path):
    return [
        "simulate",
        str(labelled_folder),
        "--model",
        str(tiny_model_path),
        "-o",
        str(tmp_path / "out"),
        "--cases",
        "2",
    ]


def test_a_program_gets_events_and_files(arguments, tmp_path, capsys):
    options = ["--regions", "0,2", "--guide", "error-map", "--finetune", "0", "--json"]
    assert run_command([*arguments, *options]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events} == {"progress", "result"}
    result = events[-1]
    assert list(result["effort"]) == ["error-map"]
    assert result["settings"]["regions"] == [0, 2]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["effort"] == result["effort"]
    assert result["report"] == str(tmp_path / "out" / "report.json")


def test_only_options_that_there_are_are_advised(tiny_model_path, tmp_path, capsys):
    call = ["simulate", str(tmp_path), "--model", str(tiny_model_path)]
    assert run_command([*call, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "imagesTr and labelsTr" in said
    assert "--" not in said


def test_people_get_tables(arguments, tmp_path, capsys):
    options = ["--regions", "0,1", "--guide", "random", "--finetune", "0"]
    assert run_command([*arguments, *options]) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "out" / "report.md").read_text() in said
    assert "report.json" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--regions", "0,five"], "--regions 0,five"),
        (["--guide", "oracle"], "oracle"),
        (["--cases", "9"], "4 cases"),
        (["--cases", "0"], "'--cases': Input should be greater than or equal to 1"),
        (
            ["--finetune", "-1"],
            "'--finetune': Input should be greater than or equal to 0",
        ),
        (["--steps", "0"], "'--steps': Input should be greater than or equal to 1"),
        (["--finetune", "2"], "more than the 2"),
        ([], "more than the 3"),
    ],
)
def test_faults_are_one_line_and_leave_nothing(
    arguments, tmp_path, capsys, options, message
):
    assert run_command([*arguments, *options]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "out").exists()
