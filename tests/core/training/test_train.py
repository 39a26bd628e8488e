"""The whole of `train`: its folder, and what an interruption or a bad case costs."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from e2miseg_core.errors import DatasetError, ReadError, WriteError
from e2miseg_core.model import load_model
from e2miseg_core.progress import Progress, run
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.training.plan import PlanOverrides
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.train import TrainingRequest, plan_training_of, train_model


def request_of(
    data: Path, folder: Path, *, epochs: int, iterations: int
) -> TrainingRequest:
    return TrainingRequest(
        dataset=find_dataset(data),
        folder=folder,
        preset="tiny",
        recipe=preset_recipe("tiny", epochs=epochs, iterations=iterations),
        device="cpu",
        precision="float32",
    )


def test_a_model_bears_its_name_only_when_its_card_is_complete(
    dataset_folder: Path, tmp_path: Path
) -> None:
    request = request_of(dataset_folder, tmp_path / "run", epochs=1, iterations=1)
    job = train_model(request)
    stages = []
    for step in job:
        stages.append(step.stage)
        assert not list((tmp_path / "run").glob("model*"))
        if step.stage == "predicting unseen cases":
            break
    job.close()
    assert "calibrating" in stages
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {
        "cases",
        ".lock",
        "unreported.safetensors",
        "checkpoint.safetensors",
        "curves.svg",
        "fingerprint.json",
        "history.csv",
        "log.txt",
        "pictures",
        "plan.json",
        "tensorboard",
    }


def test_two_programs_do_not_train_in_one_folder(
    dataset_folder: Path, tmp_path: Path
) -> None:
    request = request_of(dataset_folder, tmp_path / "run", epochs=2, iterations=1)
    job = train_model(request)
    for step in job:
        if step.stage == "training" and step.done == 2:
            break
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    for other in (request, replace(request, resume=True)):
        with pytest.raises(WriteError, match=r"program that is training.*wait for it"):
            run(train_model(other))
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    job.close()
    run(train_model(replace(request, resume=True)))


def test_a_case_that_cannot_be_reported_on_costs_no_training(
    dataset_folder: Path, tmp_path: Path
) -> None:
    """It is damaged while the network trains; mended, the run is gone on with."""
    data = tmp_path / "data"
    shutil.copytree(dataset_folder, data)
    request = request_of(data, tmp_path / "run", epochs=1, iterations=1)
    image = data / "images" / f"{request.split.unseen[0]}.nii.gz"
    whole = image.read_bytes()
    job = train_model(request)
    for step in job:
        if step.stage == "training":
            image.write_bytes(whole[:-30])
            break
    with pytest.raises(DatasetError, match=r"trained, but no report.*--resume"):
        run(job)
    kept = load_model(tmp_path / "run" / "unreported.safetensors")
    assert not kept.card.metrics
    image.write_bytes(whole)
    result = run(train_model(replace(request, resume=True)))
    assert result.card.metrics["mean_dice"] >= 0
    weights = [model.network.state_dict() for model in (kept, load_model(result.path))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not (tmp_path / "run" / "unreported.safetensors").exists()


@pytest.mark.parametrize("over", [False, True])
def test_a_run_killed_in_its_first_epoch_begins_as_it_was_planned(
    dataset_folder: Path, tmp_path: Path, *, over: bool
) -> None:
    """Also where it was to replace a finished one, whose model stays meanwhile."""
    folder = tmp_path / "run"
    request = request_of(dataset_folder, folder, epochs=1, iterations=3)
    if over:
        old = run(train_model(request)).card.hash
        request = replace(request, overwrite=True)
    request = replace(request, overrides=PlanOverrides(patch_size=(8, 16, 16)))
    job = train_model(request)
    for step in job:
        if step.stage == "training" and step.done == 2:
            job.close()
            break
    assert not (folder / "checkpoint.safetensors").exists()
    if over:
        assert load_model(folder / "model.safetensors").card.hash == old
    steps: list[Progress] = []
    again = replace(request, resume=True, overwrite=False, overrides=PlanOverrides())
    result = run(train_model(again), steps.append)
    assert [s.done for s in steps if s.stage == "training"] == [1, 2, 3]
    assert result.card.patch_size == (8, 16, 16)


def test_a_finished_run_without_its_checkpoint_is_not_begun_anew(
    dataset_folder: Path, tmp_path: Path
) -> None:
    request = request_of(dataset_folder, tmp_path / "run", epochs=1, iterations=1)
    run(train_model(request))
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    with pytest.raises(ReadError, match="no usable checkpoint"):
        run(train_model(replace(request, resume=True)))


def test_a_plan_is_not_written_over_that_of_a_program_at_work(
    dataset_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    request = request_of(dataset_folder, folder, epochs=1, iterations=3)
    job = train_model(request)
    for step in job:
        if step.stage == "training":
            break
    before = (folder / "plan.json").read_bytes()
    other = replace(request, overrides=PlanOverrides(patch_size=(8, 16, 16)))
    with pytest.raises(WriteError, match="program that is training"):
        run(plan_training_of(other))
    assert (folder / "plan.json").read_bytes() == before
    job.close()
