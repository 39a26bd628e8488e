"""A whole study with a network of random weights: the same figures each time."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from e2miseg_core.errors import Cancelled, ConfigError, DatasetError, WriteError
from e2miseg_core.model import load_model, save_model
from e2miseg_core.progress import run
from e2miseg_core.project import Project
from e2miseg_core.simulation import (
    StudySettings,
    finetuning,
    simulate_job,
    study_to_json,
    study_to_markdown,
    write_study,
)
from e2miseg_core.simulation.finetuning import measure_finetuning
from e2miseg_core.simulation.report import _finetuning, _finetuning_parts
from e2miseg_core.simulation.robot import read_predicted

SETTINGS = StudySettings(
    regions=(0, 3, 6), finetune=2, steps=2, device="cpu", precision="float32"
)


@pytest.fixture(scope="module")
def done(labelled, tiny_model_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "new"
    steps = []
    study = run(simulate_job(labelled, tiny_model_path, folder, SETTINGS), steps.append)
    write_study(study, folder)
    return SimpleNamespace(folder=folder, study=study, steps=steps)


def test_the_report_has_each_guide_and_count(done):
    report = json.loads((done.folder / "report.json").read_text())
    assert report == json.loads(json.dumps(study_to_json(done.study)))
    assert report["settings"]["regions"] == [0, 3, 6]
    for guide in ("error-map", "entropy", "random"):
        rows = report["effort"][guide]
        assert [row["regions"] for row in rows] == [0, 3, 6]
        for index, row in enumerate(rows):
            each = [case["dice"][guide][index] for case in report["cases"]]
            assert row["mean"] == pytest.approx(sum(each) / 4)
            assert row["n_cases"] == 4
    assert report["effort"]["random"][0] == report["effort"]["error-map"][0]
    assert set(report["differences"]) == {"entropy", "random"}
    assert report["differences"]["random"][0]["mean"] == 0
    assert report["errors"]["wrong"] == sum(c["wrong"] for c in report["cases"])


def test_the_fine_tuning_is_told_with_the_gate_s_sentence(done):
    effect = done.study.finetuning
    assert effect.corrected == ("case_0", "case_1")
    assert sum(effect.verdicts.values()) == 12
    assert [one.case for one in effect.others] == ["case_2", "case_3"]
    history = Project.open(done.folder / "study.e2m").history()
    assert [line["sentence"] for line in history] == [effect.sentence]
    assert effect.sentence.startswith("Kept" if effect.kept else "Not kept")
    assert not [name for name in effect.figures if "seconds" in name]


def test_the_tables_say_the_same(done):
    tables = (done.folder / "report.md").read_text()
    report = study_to_json(done.study)
    row = report["effort"]["entropy"][1]
    assert f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in tables
    assert done.study.finetuning.sentence in tables
    assert "| Dice after corrected regions a case | 0 | 3 | 6 |" in tables
    assert "node, vessel" in tables
    for line in tables.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_the_project_can_be_opened_and_shows_the_robot_s_verdicts(done):
    project = Project.open(done.folder / "study.e2m")
    counts = [len(project.case(name).review().sites()) for name in project.cases]
    assert counts == [6, 6, 0, 0]


def test_it_tells_where_it_is(done):
    stages = {step.stage for step in done.steps}
    assert "case 1 of 4: predicting" in stages
    assert "training" in stages


def test_the_same_study_gives_the_same_bytes(done, labelled, tiny_model_path, tmp_path):
    again = run(simulate_job(labelled, tiny_model_path, tmp_path, SETTINGS))
    write_study(again, tmp_path)
    for name in ("report.json", "report.md"):
        assert (tmp_path / name).read_bytes() == (done.folder / name).read_bytes()


def test_without_a_fine_tuning_and_with_one_guide(labelled, tiny_model_path, tmp_path):
    settings = replace(SETTINGS, finetune=0, guides=("random",), regions=(1,))
    job = simulate_job(labelled, tiny_model_path, tmp_path, settings, n_cases=1)
    study = run(job)
    report = study_to_json(study)
    assert report["finetuning"] is None
    assert report["differences"] == {}
    assert len(report["cases"]) == 1
    tables = study_to_markdown(study)
    assert "| random |" in tables
    assert "Fine-tuned" not in tables


@pytest.mark.parametrize("kept", [True, False])
def test_other_cases_get_the_model_that_the_gate_lets_in(
    bench, tiny_model, tmp_path, monkeypatch, kept
):
    """Before: the first model. After: the new one if it was kept, else as before.

    A refused one is measured all the same, and leaves no trace in the project.
    """

    def pretend(project, settings, *, folder, replay, refused):
        yield from ()
        assert (settings.steps, replay, folder.parent.name) == (2, None, "jobs")
        model = load_model(project.version.path)
        with torch.no_grad():
            model.network.heads[0].weight.mul_(-1)
        path = tmp_path / "new.safetensors" if kept else refused
        save_model(model.network, model.card, path)
        if kept:
            project.add_version(path, figures={}, sentence="Kept.")
        return SimpleNamespace(kept=kept, sentence="Kept or not.", figures={"a": 1})

    monkeypatch.setattr(finetuning, "finetune_job", pretend)
    settings = replace(SETTINGS, finetune=1)
    job = measure_finetuning(bench.project, bench.subjects, settings, replay=None)
    effect = run(job)
    (change,) = effect.others
    case, robot = bench.subjects[1].case, bench.subjects[1].robot()
    newest = case.prediction
    assert newest.version == (1 if kept else 0)
    assert change.dice_after == robot.dice(read_predicted(newest))
    assert change.dice_before == robot.dice(
        read_predicted(bench.subjects[1].prediction)
    )
    assert (change.dice_after == change.dice_before) is not kept
    assert (change.dice_refused is None) is kept
    new = change.dice_after if kept else change.dice_refused
    assert new != change.dice_before
    found = (len(list(case.predictions())), len(bench.project.versions))
    assert found == ((2, 2) if kept else (1, 1))
    (table,) = [part for part in _finetuning_parts(effect) if "| gain |" in part]
    assert ("by the refused model" in table) is not kept
    row = f"| {change.dice_before:.3f} | {new:.3f} | {new - change.dice_before:+.3f} |"
    assert row in table
    values = _finetuning(effect)
    gain = values["dice_gain" if kept else "dice_gain_refused"]
    assert gain["mean"] == pytest.approx(new - change.dice_before)
    assert kept is (values["dice_gain_refused"] is None)


def test_a_training_that_came_to_nothing_has_no_refused_model(
    bench, tmp_path, monkeypatch
):
    def pretend(project, settings, **_):
        yield from ()
        return SimpleNamespace(kept=False, sentence="Not kept: no.", figures={})

    monkeypatch.setattr(finetuning, "finetune_job", pretend)
    settings = replace(SETTINGS, finetune=1)
    job = measure_finetuning(bench.project, bench.subjects, settings, replay=None)
    effect = run(job)
    assert effect.others[0].dice_refused is None
    assert "| before | after | gain |" in "".join(_finetuning_parts(effect))


def test_what_cannot_be_studied_is_told_before_the_work(
    labelled, tiny_model_path, tmp_path: Path
):
    def fails(settings=SETTINGS, dataset=labelled, folder=tmp_path / "new", **given):
        with pytest.raises((ConfigError, DatasetError, WriteError)) as caught:
            run(simulate_job(dataset, tiny_model_path, folder, settings, **given))
        return str(caught.value)

    assert "more than the 2" in fails(n_cases=2)
    assert not (tmp_path / "new").exists()
    (tmp_path / "report.json").write_text("{}")
    assert "holds a study" in fails(folder=tmp_path)
    few = replace(SETTINGS, regions=(0, 2))
    assert "4 regions to correct in 2 cases" in fails(few)


@pytest.mark.parametrize("stage", ["predicting", "correcting", "training"])
def test_half_a_study_leaves_nothing(labelled, tiny_model_path, tmp_path, stage):
    folder = tmp_path / "new"
    settings = replace(SETTINGS, guides=("error-map",))
    job = simulate_job(labelled, tiny_model_path, folder, settings, n_cases=3)
    seen = []
    with pytest.raises(Cancelled):
        run(job, seen.append, cancelled=lambda: stage in seen[-1].stage)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"regions": ()}, "rising"),
        ({"regions": (5, 0)}, "rising"),
        ({"regions": (-1, 5)}, "none negative"),
        ({"regions": (0,)}, "without any corrected region"),
        ({"guides": ("oracle",)}, "oracle"),
        ({"guides": ("random", "random")}, "each once"),
        ({"guides": ()}, "(none)"),
        ({"finetune": -1}, "-1 cases"),
        ({"steps": 0}, "0 steps"),
        ({"seed": -3}, "seed -3"),
    ],
)
def test_settings_that_make_no_sense_are_told(values, word):
    with pytest.raises(ConfigError) as caught:
        StudySettings(**values)
    assert word in str(caught.value)
