"""What commands print of a job."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console
from rich.table import Table

from e2miseg_core.cli.output import Output
from e2miseg_core.progress import Progress

STEP = Progress(
    done=3,
    total=9,
    stage="training",
    details={"loss": 0.25, "seconds_left": 3725.4, "smoothed_dice": None},
)


def test_a_job_that_foretells_its_time_is_believed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(as_json=True).progress(STEP)
    line = json.loads(capsys.readouterr().out)
    assert line["seconds_left"] == 3725.4
    assert line["loss"] == 0.25


def test_the_bar_shows_the_time_that_the_job_foretells() -> None:
    out = Output(as_json=False)
    shown = io.StringIO()
    out._errors = Console(file=shown, force_terminal=True, width=120)
    with out:
        out.progress(STEP)
    assert "1:02:05" in shown.getvalue()
    assert "seconds left" not in shown.getvalue()


def test_a_log_gets_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=False)
    for done in range(1, 7):
        dice = {2: 0.1, 3: 0.25, 4: 0.25, 5: 0.5, 6: 0.5}.get(done)
        epoch = (done + 1) // 2
        facts = {"epoch": epoch, "loss": 1.0 / done, "smoothed_dice": dice}
        out.progress(Progress(done=done, total=6, stage="training", details=facts))
        out.progress(Progress(done=1, total=1, stage="validating"))
    assert capsys.readouterr().err.splitlines() == [
        "training 2/6  epoch 1  loss 0.500  smoothed dice 0.250",
        "training 4/6  epoch 2  loss 0.250  smoothed dice 0.500",
        "training 6/6  epoch 3  loss 0.167  smoothed dice 0.500",
    ]


def test_a_log_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("e2miseg_core.cli.output.time.monotonic", lambda: now)
    out = Output(as_json=False)
    for second in range(25):
        now = float(second)
        out.progress(Progress(done=second, total=25, stage="predicting"))
    assert capsys.readouterr().err == "predicting 11/25\npredicting 22/25\n"


def test_another_process_of_a_team_prints_errors_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for as_json in (True, False):
        out = Output(as_json=as_json, quiet=True)
        out.progress(STEP)
        out.stages(STEP)
        out.warning("a")
        out.table("b")
        out.result({"c": 1}, "c")
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err == ""
        out.error("d")
        assert "d" in capsys.readouterr().err


def test_the_package_runs_as_a_module() -> None:
    """As `torchrun -m e2miseg_core` needs it."""
    said = subprocess.check_output(
        [sys.executable, "-m", "e2miseg_core", "--version"], text=True
    )
    assert said.startswith("e2miseg-napari ")


def test_a_table_in_a_file_is_not_padded(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("a", "long text")
    table.add_row("b", "x")
    with Output(as_json=False) as output:
        output.result({}, table)
        output.table(table)
    assert capsys.readouterr().out == "a  long text\nb  x\n" * 2
