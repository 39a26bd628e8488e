"""`e2miseg models`: names, and what a card tells people."""

from dataclasses import replace
from pathlib import Path

import pytest

from e2miseg_core.cli import run_command
from e2miseg_core.model import Model, save_model


def test_a_card_tells_what_choosing_a_model_needs(
    tiny_model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = replace(
        tiny_model.card,
        training={"preset": "tiny", "training": ["a", "b"], "selection": ["c"]},
        metrics={"mean_dice": 0.51234, "error_map_auprc": 0.25},
    )
    save_model(tiny_model.network, card, tmp_path / "m.safetensors")
    assert run_command(["models", "show", str(tmp_path / "m.safetensors")]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = {line[:15].strip(): line[15:].strip() for line in lines}
    assert told["network"] == "e2miseg, preset tiny"
    assert told["edge head"] == "no"
    assert told["cases"] == "2 trained on, 1 chose the weights, 0 unseen"
    figures = "Dice 0.5123, average precision of the error map 0.25"
    assert told["figures"] == figures
    assert "normalisation" in told
    assert all(line == line.rstrip() for line in lines)


def test_a_model_is_installed_by_the_name_that_is_asked_for(
    tiny_model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / "own"
    monkeypatch.setattr("e2miseg_core.models.models_folder", lambda: own)
    add = ["models", "add", str(tiny_model_path)]
    assert run_command([*add, "--name", "liver"]) == 0
    assert "Installed as 'liver'" in capsys.readouterr().out
    assert (own / "liver.safetensors").is_file()
    assert run_command([*add, "--name", "liver"]) == 2
    assert "--name" in capsys.readouterr().err
