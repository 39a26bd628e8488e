"""Fine-tuning as a whole: kept when it is better, refused when it is sabotaged."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from safetensors.torch import load_file

from e2miseg_core.errors import ConfigError, ModelError, ReadError, WriteError
from e2miseg_core.model import load_model, save_model
from e2miseg_core.progress import Progress, run
from e2miseg_core.project import Project, ProjectInUse
from e2miseg_core.project.jobs import discard_job
from e2miseg_core.training import trial
from e2miseg_core.training.crops import load_crop
from e2miseg_core.training.finetune import (
    FinetuneControl,
    FinetuneResult,
    FinetuneSettings,
    finetune_job,
    unfinished_job,
)

SETTINGS = FinetuneSettings(
    steps=40,
    learning_rate=2e-3,
    checkpoint_every=4,
    test_every=20,
    device="cpu",
    precision="float32",
)
SHORT = replace(SETTINGS, steps=12)
Make = Callable[..., Any]


def until(job: Any, stage: str, done: int = 0) -> list[Progress]:
    """Run a job to a step of a stage."""
    steps = []
    for step in job:
        steps.append(step)
        if step.stage == stage and step.done >= done:
            return steps
    raise AssertionError((stage, steps[-1]))


@pytest.fixture
def one_thread() -> Any:
    """As in the child process that is killed, so that sums are the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_true_improvement_is_kept_with_its_lineage(corrected_project: Make) -> None:
    made = corrected_project()
    project = made.project
    steps: list[Progress] = []
    before = project.version.card
    result = run(finetune_job(project, SETTINGS), steps.append)
    assert result.kept, result.sentence
    assert result.sentence.startswith("Kept: ")
    assert result.version == project.version.number == 1
    assert project.version.parent == 0
    card = project.version.card
    assert card.name == "bright boxes v1"
    assert card.parent == before.hash
    assert card.calibration == before.calibration
    assert card.training["finetuning"]["corrections"] == 9
    assert card.training["finetuning"]["held_out"] == 3
    assert card.metrics["data"] == "3 held-out corrections"
    stages = list(dict.fromkeys(step.stage for step in steps))
    assert stages == ["looking for corrections", "preparing", "training", "testing"]
    told = [s.details["held_out_wrong"] for s in steps if "held_out_wrong" in s.details]
    assert len(told) == 3  # as it was, half-way, at the end
    assert told[0] == result.figures["wrong_before"]
    lines = (result.folder / "history.csv").read_text().splitlines()
    assert lines[1] == f"0,,,{told[0]}"
    assert len(lines) == 1 + 1 + SETTINGS.steps
    assert sorted(p.name for p in result.folder.iterdir()) == [
        "history.csv",
        "model.safetensors",
        "request.json",
        "result.json",
    ]
    assert run(finetune_job(project, folder=result.folder, resume=True)) == result
    assert len(project.versions) == 2
    sites = card.training["finetuning"]["sites"]
    assert [len(sites[part]) for part in ("training", "held_out")] == [9, 3]
    assert not discard_job(project, result.folder)
    # Where the job was does not matter: the version itself tells what it learnt.
    shutil.rmtree(result.folder)
    again = until(finetune_job(project, SHORT, folder=result.folder), "training")
    assert again
    prepared = json.loads((result.folder / "prepared.json").read_text())
    assert prepared["sites"] == sites


def test_held_out_boxes_are_never_trained_on(corrected_project: Make) -> None:
    made = corrected_project()
    folder = made.project.path / "jobs" / "one"
    until(finetune_job(made.project, SHORT, folder=folder), "training")
    stored = json.loads((folder / "prepared.json").read_text())
    held_out = {(s["case"], str(s["box"])): s for s in stored["sites"]["held_out"]}
    assert len(held_out) == 3
    marked = np.zeros((20, 36, 32), bool)
    # Scramble what was said in the held-out boxes: no training crop may change.
    crops = {n: load_crop(folder / "crops" / n) for n in stored["crops"]["site"]}
    for site in held_out.values():
        case = made.project.case(site["case"])
        where = tuple(slice(*bounds) for bounds in site["box"])
        labels = zarr.open_array(str(case.labels_path / "0"), mode="r+")
        labels[where] = 5 - labels[where]
        marked[where] = True
    assert marked.any()
    other = made.project.path / "jobs" / "two"
    until(finetune_job(made.project, SHORT, folder=other), "training")
    for name, crop in crops.items():
        again = load_crop(other / "crops" / name)
        np.testing.assert_array_equal(again.valid, crop.valid)
        np.testing.assert_array_equal(
            again.classes[crop.valid], crop.classes[crop.valid]
        )


@pytest.mark.parametrize("lie", ["random", "inverted", "nothing"])
def test_wrong_corrections_are_refused(
    corrected_project: Make, tmp_path: Path, lie: str
) -> None:
    rng = np.random.default_rng(1)
    lies = {
        "random": lambda truth: rng.integers(0, 2, truth.shape).astype(np.uint8),
        "inverted": lambda truth: 1 - truth,
        "nothing": lambda truth: np.where(truth > 0, 0, 0).astype(np.uint8),
    }
    made = corrected_project(correct=lies[lie])
    refused = tmp_path / "refused.safetensors"
    result = run(finetune_job(made.project, SETTINGS, refused=refused))
    assert not result.kept, result.sentence
    assert load_model(refused).card.parent == made.project.version.card.hash
    assert result.version is None
    assert made.project.version.number == 0
    assert made.project.history()[-1]["event"] == "refused"
    assert not (result.folder / "model.safetensors").exists()


@pytest.mark.parametrize("rate", [3.0, 1e30])
def test_a_network_damaged_by_its_learning_rate_is_refused(
    corrected_project: Make, rate: float
) -> None:
    made = corrected_project()
    result = run(finetune_job(made.project, replace(SHORT, learning_rate=rate)))
    assert not result.kept, result.sentence
    assert len(made.project.versions) == 1


def test_a_finished_training_is_tested_as_it_is(corrected_project: Make) -> None:
    made = corrected_project()
    control = FinetuneControl()
    job = finetune_job(made.project, SETTINGS, control=control)
    until(job, "training", 5)
    control.finish = True
    steps: list[Progress] = []
    run(job, steps.append)
    assert all(step.stage == "testing" for step in steps)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_job_resumes_to_the_same_weights(
    corrected_project: Make, tmp_path: Path
) -> None:
    made = corrected_project()
    whole, killed = (made.project.path / "jobs" / n for n in ("whole", "killed"))
    job = finetune_job(made.project, SHORT, folder=whole)
    until(job, "testing")
    expected = load_file(whole / "checkpoint.safetensors")
    job.close()
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    arguments = [str(made.project.path), str(killed), json.dumps(SHORT.to_json())]
    for kill_at in ("preparing 2", "training 6", "testing 1"):
        child = subprocess.Popen(
            [sys.executable, str(script), *arguments, kill_at], stdout=subprocess.PIPE
        )
        assert child.wait(timeout=280) == -signal.SIGKILL
        assert child.stdout is not None
        child.stdout.close()
        assert not (killed / "result.json").exists()
        assert not (killed / "model.safetensors").exists()
    found = load_file(killed / "checkpoint.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)
    lines = [(f / "history.csv").read_text() for f in (whole, killed)]
    assert lines[0] == lines[1]
    result = run(finetune_job(made.project, folder=killed, resume=True))
    assert len(made.project.versions) == 1 + result.kept


CHILD = """
import json, os, signal, sys, warnings
from pathlib import Path
import torch
torch.set_num_threads(1)
from e2miseg_core.project import Project
from e2miseg_core.training.finetune import FinetuneSettings, finetune_job
folder = Path(sys.argv[2])
begun = (folder / "request.json").exists()
settings = None if begun else FinetuneSettings.from_json(json.loads(sys.argv[3]))
stage, done = sys.argv[4].split()
project = Project.open(sys.argv[1])
for step in finetune_job(project, settings, folder=folder, resume=begun):
    if step.stage == stage and step.done >= int(done):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_job_that_died_while_keeping_keeps_once(
    corrected_project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = corrected_project()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneResult, "end", die)
        with pytest.raises(KeyboardInterrupt):
            run(finetune_job(made.project, SETTINGS))
    assert made.project.version.number == 1
    folder = unfinished_job(made.project)
    made.project.use_version(0)  # as if that had not been written either
    result = run(finetune_job(made.project, resume=True))
    assert result.folder == folder
    assert (result.kept, result.version) == (True, 1)
    assert [v.number for v in made.project.versions] == [0, 1]
    assert made.project.version.number == 1


@pytest.mark.parametrize("where", ["end", "_log"])
def test_a_job_that_died_at_its_end_is_logged_once(
    corrected_project: Make, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Killed after the refusal was logged, or before the kept version was."""
    made = corrected_project()
    kept = where == "_log"
    verdict = trial.Verdict(kept=kept, sentence="So it is.", figures={"held_out": 3})
    monkeypatch.setattr(trial, "judge", lambda _: verdict)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Project if kept else FinetuneResult, where, die)
        with pytest.raises(KeyboardInterrupt):
            run(finetune_job(made.project, SHORT))
    result = run(finetune_job(made.project, resume=True))
    assert (result.kept, result.version) == (kept, 1 if kept else None)
    assert "job" not in result.figures
    events = [line["event"] for line in made.project.history()]
    assert events.count("kept" if kept else "refused") == 1
    assert made.project.version.number == kept


def test_a_job_that_runs_is_neither_resumed_nor_discarded(
    corrected_project: Make,
) -> None:
    made = corrected_project()
    job = finetune_job(made.project, SHORT)
    for step in job:
        if step.stage == "training":
            break
    folder = unfinished_job(made.project)
    for other in (
        finetune_job(made.project, resume=True),
        finetune_job(made.project, folder=folder, resume=True),
    ):
        with pytest.raises(ProjectInUse, match="at work on the fine-tuning"):
            run(other)
    with pytest.raises(ProjectInUse):
        discard_job(made.project, folder)
    job.close()
    assert until(finetune_job(made.project, resume=True), "training")
    assert discard_job(made.project, folder)


def test_a_new_model_has_to_beat_the_one_in_use(
    corrected_project: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Which need not be the one that it was begun with, if the job was resumed."""
    made = corrected_project()
    project, first = made.project, made.project.version
    until(finetune_job(project, SHORT), "training")
    other = load_model(first.path)
    with torch.no_grad():
        next(other.network.parameters()).mul_(0.5)
    path = tmp_path / "other.safetensors"
    save_model(other.network, other.card, path)
    project.add_version(path, figures={}, sentence="Kept: another.")
    rivals = []
    real, judge = trial.measure_old, trial.judge
    monkeypatch.setattr(
        trial,
        "measure_old",
        lambda old, *a, **k: rivals.append(old) or real(old, *a, **k),
    )
    monkeypatch.setattr(trial, "judge", lambda e: replace(judge(e), kept=True))
    result = run(finetune_job(project, resume=True))
    (rival,) = rivals
    for name, tensor in load_model(path).network.state_dict().items():
        torch.testing.assert_close(rival.network.state_dict()[name], tensor)
    assert result.version == 2
    assert project.version.parent == 0
    assert project.version.card.parent == first.card.hash


def test_a_version_that_sees_other_voxels_cannot_be_compared(
    corrected_project: Make, tmp_path: Path
) -> None:
    made = corrected_project()
    until(finetune_job(made.project, SHORT), "training")
    other = load_model(made.project.version.path)
    with torch.no_grad():
        next(other.network.parameters()).mul_(0.5)
    path = tmp_path / "other.safetensors"
    save_model(other.network, replace(other.card, spacing=(2.0, 1.0, 1.0)), path)
    made.project.add_version(path, figures={}, sentence="Kept: another.")
    with pytest.raises(ModelError, match="another kind of model than version 1"):
        run(finetune_job(made.project, resume=True))


def test_a_full_disk_stops_in_one_line_and_can_be_resumed(
    corrected_project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = corrected_project()

    def fill(_tensors: object, path: Path, _metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("e2miseg_core.tensor_file.save_file", fill)
        with pytest.raises(WriteError, match="No space left") as caught:
            run(finetune_job(made.project, SHORT))
    assert "\n" not in str(caught.value)
    folder = unfinished_job(made.project)
    assert not list(folder.glob("*.partial*"))
    assert not list(folder.glob("check*"))
    result = run(finetune_job(made.project, resume=True))
    assert result.folder == folder


def test_too_few_corrections_leave_no_job(corrected_project: Make) -> None:
    made = corrected_project(1)
    with pytest.raises(ConfigError, match=r"4 corrected.*at least 6.*2 more") as caught:
        run(finetune_job(made.project, SHORT))
    assert "\n" not in str(caught.value)
    assert not list((made.project.path / "jobs").iterdir())
    with pytest.raises(ReadError, match="no unfinished"):
        run(finetune_job(made.project, resume=True))


def test_faults_of_calling_are_told(corrected_project: Make) -> None:
    made = corrected_project()
    until(finetune_job(made.project, SHORT), "preparing")
    folder = unfinished_job(made.project)
    with pytest.raises(ConfigError, match="a fine-tuning in"):
        run(finetune_job(made.project, SHORT, folder=folder))
    with pytest.raises(ConfigError, match="other settings"):
        run(finetune_job(made.project, SETTINGS, folder=folder, resume=True))
    for wrong in ({"steps": 0}, {"learning_rate": "fast"}, {"colour": 1}):
        with pytest.raises(ConfigError):
            FinetuneSettings.from_json(wrong)
    assert discard_job(made.project, folder)
    assert not folder.exists()


def test_an_empty_folder_is_begun_even_where_it_is_to_be_resumed(
    corrected_project: Make,
) -> None:
    """A worker that died before its first word is asked to resume."""
    made = corrected_project()
    folder = made.project.new_job_folder()
    job = finetune_job(made.project, SHORT, folder=folder, resume=True)
    until(job, "training")
    assert (folder / "request.json").exists()


def test_the_model_is_not_changed_by_its_fine_tuning(corrected_project: Make) -> None:
    made = corrected_project()
    path = made.project.version.path
    before = path.read_bytes()
    until(finetune_job(made.project, SHORT), "testing")
    assert path.read_bytes() == before
    assert load_model(path).card.name == "bright boxes"
