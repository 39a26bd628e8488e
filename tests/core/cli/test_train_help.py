"""The help of `e2miseg train`, which has more options than fit on a screen."""

from typing import Any

import pytest
import typer

from e2miseg_core.cli import run_command
from e2miseg_core.cli.commands import app
from e2miseg_core.cli.options import CARD, DATA, PLAN, RECIPE

OF_THE_RUN = {  # in the first panel
    *("output", "workers", "seed", "device", "precision"),
    *("resume", "overwrite", "as_json"),
}


def test_every_option_is_in_a_panel() -> None:
    commands: Any = typer.main.get_command(app)
    options = [one for one in commands.commands["train"].params if one.name != "help"]
    panels = {
        one.name: one.rich_help_panel
        for one in options
        if one.param_type_name == "option"
    }
    assert {name for name, panel in panels.items() if panel is None} == OF_THE_RUN
    assert {panel for panel in panels.values() if panel} == {DATA, PLAN, RECIPE, CARD}


def test_the_help_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panels are there in the order of the work, and no option's name is cut."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert run_command(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    places = [
        shown.index(f" {name} ") for name in ("Options", DATA, PLAN, RECIPE, CARD)
    ]
    assert places == sorted(places)
    for option in ("--normalization", "--no-dummy-2d", "--weight-average"):
        assert f"{option} " in shown
