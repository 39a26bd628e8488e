"""The loop: exact resume, damage, and the whole of `train`."""

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from e2miseg_core.errors import (
    ConfigError,
    DatasetError,
    E2MISegError,
    ReadError,
    WriteError,
)
from e2miseg_core.io import open_labels, write_labels
from e2miseg_core.model import load_model
from e2miseg_core.networks import preset_config
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import Progress, run
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.training.plan import plan_training
from e2miseg_core.training.prepare import PreparedCase, prepare_case
from e2miseg_core.training.recipe import Recipe, preset_recipe
from e2miseg_core.training.run import TrainingRun
from e2miseg_core.training.train import TrainingRequest, train_model

CONFIG = preset_config("tiny", patch_size=(8, 16, 16))
RECIPE = Recipe(epochs=4, iterations=3, validate_every=2)


@pytest.fixture(scope="module")
def prepared(
    dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[PreparedCase]:
    dataset = find_dataset(dataset_folder)
    folder = tmp_path_factory.mktemp("cases")
    return [
        prepare_case(case, dataset, (1.0, 1.0, 1.0), [Normalization()], folder)
        for case in dataset.cases[:4]
    ]


def train(
    folder: Path, cases: list[PreparedCase], stop_after: int | None
) -> TrainingRun:
    """Train, and if asked drop the run after so many steps, as a kill would."""
    folder.mkdir(exist_ok=True)
    training = TrainingRun(folder, CONFIG, RECIPE, device="cpu", precision="float32")
    if training.checkpoint.exists():
        training.resume()
    job = training.train(cases[:3], cases[3:])
    for step in job:
        if (
            stop_after is not None
            and step.stage == "training"
            and step.done >= stop_after
        ):
            job.close()
            break
    return training


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole", prepared, None)
    for stop in (4, 8, None):  # in the middle of the second and of the third epoch
        resumed = train(tmp_path / "resumed", prepared, stop)
    for name, tensor in whole.network.state_dict().items():
        other = resumed.network.state_dict()[name]
        torch.testing.assert_close(other, tensor, rtol=0, atol=0, msg=name)
    first, second = (
        list(csv.reader((tmp_path / name / "history.csv").read_text().splitlines()))
        for name in ("whole", "resumed")
    )
    assert [row[:-1] for row in first] == [row[:-1] for row in second]  # seconds differ
    assert [row[0] for row in first] == ["epoch", "1", "2", "3", "4"]


def test_training_finds_the_bright_boxes(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    recipe = Recipe(epochs=6, iterations=15, validate_every=2)
    training = TrainingRun(tmp_path, CONFIG, recipe, device="cpu", precision="float32")
    result = run(training.train(prepared[:3], prepared[3:]))
    scores = [
        float(row["selection_dice"])
        for row in csv.DictReader((tmp_path / "history.csv").read_text().splitlines())
        if row["selection_dice"]
    ]
    assert max(scores) > 0.5
    assert result.best_epoch in (2, 4, 6)


def test_other_settings_do_not_resume(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    train(tmp_path / "run", prepared, 4)
    other = Recipe(epochs=5, iterations=3, validate_every=2)
    training = TrainingRun(
        tmp_path / "run", CONFIG, other, device="cpu", precision="float32"
    )
    with pytest.raises(ConfigError, match="other settings"):
        training.resume()


def test_a_damaged_checkpoint_is_refused_in_one_line(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    training = train(tmp_path / "run", prepared, 4)
    whole = training.checkpoint.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        training.checkpoint.write_bytes(whole[:length])
        with pytest.raises(ReadError, match="no usable checkpoint") as caught:
            training.resume()
        assert "\n" not in str(caught.value)


def test_a_full_disk_keeps_the_last_checkpoint(
    prepared: list[PreparedCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train(tmp_path / "run", prepared, 4)
    before = load_file(training.checkpoint)

    def fill(_tensors: object, path: Path, _metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("e2miseg_core.tensor_file.save_file", fill)
    with pytest.raises(WriteError, match="continue with --resume"):
        train(tmp_path / "run", prepared, None)
    monkeypatch.undo()
    after = load_file(training.checkpoint)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not list((tmp_path / "run").glob(".*"))


def test_preparing_is_not_repeated_and_notices_changes(
    dataset_folder: Path, tmp_path: Path
) -> None:
    case = find_dataset(dataset_folder).cases[0]
    dataset = find_dataset(dataset_folder)
    spacing = (1.0, 1.0, 1.0)
    first = prepare_case(case, dataset, spacing, [Normalization()], tmp_path)
    written = (tmp_path / f"{case.name}.image.npy").stat().st_mtime_ns
    prepare_case(case, dataset, spacing, [Normalization()], tmp_path)
    assert (tmp_path / f"{case.name}.image.npy").stat().st_mtime_ns == written
    coarser = prepare_case(case, dataset, (2.0, 2.0, 2.0), [Normalization()], tmp_path)
    assert coarser.classes.size < first.classes.size / 4
    assert coarser.classes.any()


def test_labels_without_a_name_are_refused(
    dataset_folder: Path, tmp_path: Path
) -> None:
    dataset = find_dataset(dataset_folder, label_names={3: "other"})
    with pytest.raises(DatasetError, match=r"label values \[1\]"):
        prepare_case(dataset.cases[0], dataset, (1, 1, 1), [Normalization()], tmp_path)


def test_ct_is_clipped_to_the_foreground_and_spacing_is_the_median(
    dataset_folder: Path,
) -> None:
    dataset = find_dataset(dataset_folder)
    plan = run(plan_training(dataset, dataset.cases))
    assert all(0.8 <= s <= 1.3 for s in plan.spacing)
    assert plan.normalizations == (Normalization(),)
    ct = run(plan_training(replace(dataset, channels=("CT",)), dataset.cases))
    rule = ct.normalizations[0]
    assert rule.scheme == "clipped"
    assert rule.low is not None
    assert rule.high is not None
    assert rule.mean is not None
    assert rule.low < rule.mean < rule.high
    assert rule.mean > 200  # the boxes, not the background at 100


@pytest.fixture(scope="module")
def trained(
    dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Progress]]:
    """A short run of the whole of `train`, stopped once and resumed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    steps: list[Progress] = []

    def request(*, resume: bool) -> TrainingRequest:
        return TrainingRequest(
            dataset=find_dataset(dataset_folder, label_names={1: "box"}),
            folder=folder,
            preset="tiny",
            recipe=preset_recipe("tiny", epochs=2, iterations=4, validate_every=1),
            device="cpu",
            precision="float32",
            resume=resume,
            about={"licence": "CC0", "name": "boxes"},
        )

    job = train_model(request(resume=False))
    for step in job:
        steps.append(step)
        if step.stage == "training" and step.done == 5:
            job.close()
            break
    run(train_model(request(resume=True)), steps.append)
    return folder, steps


def test_train_writes_a_model_with_its_card(
    trained: tuple[Path, list[Progress]],
) -> None:
    folder, steps = trained
    card = load_model(folder / "model.safetensors").card
    assert card.name == "boxes"
    assert card.licence == "CC0"
    assert card.label_names == {1: "box"}
    assert 0.2 <= card.temperature <= 10
    parts = [card.training[part] for part in ("training", "selection", "unseen")]
    assert sorted(itertools.chain(*parts)) == [f"case_{i}" for i in range(10)]
    stages = [step.stage for step in steps]
    assert stages.index("training") < stages.index("calibrating")
    assert stages[-1] == "predicting unseen cases"
    # Resumed at the start of the second epoch: step 5 is seen twice, 1 to 4 once.
    done = [step.done for step in steps if step.stage == "training"]
    assert done == [1, 2, 3, 4, 5, 5, 6, 7, 8]


def test_the_report_is_that_of_predict_and_evaluate(
    trained: tuple[Path, list[Progress]], dataset_folder: Path, tmp_path: Path
) -> None:
    from e2miseg_core.evaluation import evaluate_paths
    from e2miseg_core.inference.files import OutputPaths, predict_file
    from e2miseg_core.inference.prediction import PredictionOptions

    folder, _ = trained
    model = load_model(folder / "model.safetensors")
    (tmp_path / "predicted").mkdir()
    (tmp_path / "truth").mkdir()
    for name in model.card.training["unseen"]:
        image = dataset_folder / "images" / f"{name}.nii.gz"
        outputs = OutputPaths(labels=tmp_path / "predicted" / image.name)
        run(predict_file(image, outputs, model, PredictionOptions()))
        truth = open_labels(dataset_folder / "labels" / image.name)
        write_labels(truth.data[0], tmp_path / "truth" / image.name, like=truth)
    scores = run(
        evaluate_paths(
            tmp_path / "predicted", tmp_path / "truth", label_names={1: "box"}
        )
    )
    report = json.loads((folder / "report.json").read_text())
    assert report["means"]["dice"] == pytest.approx(scores.mean_dice, abs=1e-6)
    assert report["means"]["nsd"] == pytest.approx(scores.mean_nsd, abs=1e-6)
    assert model.card.metrics["mean_dice"] == report["means"]["dice"]


@pytest.mark.parametrize(
    "change",
    [
        {"fold": 1},
        {"preset": "small"},
        {"dataset": "other names"},
        {"recipe": preset_recipe("tiny", epochs=3, iterations=4, validate_every=1)},
    ],
)
def test_a_run_is_resumed_only_as_it_was_begun(
    trained: tuple[Path, list[Progress]],
    dataset_folder: Path,
    change: dict[str, object],
) -> None:
    dataset = find_dataset(dataset_folder, label_names={1: "box"})
    if "dataset" in change:
        change = {"dataset": replace(dataset, channels=("CT",))}
    request = TrainingRequest(
        dataset=dataset,
        folder=trained[0],
        preset="tiny",
        recipe=preset_recipe("tiny", epochs=2, iterations=4, validate_every=1),
        device="cpu",
        precision="float32",
        resume=True,
    )
    with pytest.raises(ConfigError, match="other settings") as caught:
        run(train_model(replace(request, **change)))
    assert len(str(caught.value)) < 400


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_failing_overwrite_keeps_the_old_model(
    trained: tuple[Path, list[Progress]], dataset_folder: Path
) -> None:
    folder = trained[0]
    before = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()
    }
    request = TrainingRequest(
        dataset=find_dataset(dataset_folder),
        folder=folder,
        preset="tiny",
        recipe=preset_recipe("tiny"),
        overwrite=True,
    )
    for wrong in ({"device": "cuda:99"}, {"preset": "huge"}, {"fold": 9}):
        with pytest.raises(E2MISegError):
            run(train_model(replace(request, **wrong)))
    after = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()
    }
    assert after == before


def test_resuming_where_nothing_was_begun_is_refused(
    dataset_folder: Path, tmp_path: Path
) -> None:
    request = TrainingRequest(
        dataset=find_dataset(dataset_folder),
        folder=tmp_path / "mistyped",
        preset="tiny",
        recipe=preset_recipe("tiny"),
        device="cpu",
        resume=True,
    )
    with pytest.raises(ReadError, match="without --resume"):
        run(train_model(request))


def test_a_model_bears_its_name_only_when_its_card_is_complete(
    dataset_folder: Path, tmp_path: Path
) -> None:
    request = TrainingRequest(
        dataset=find_dataset(dataset_folder),
        folder=tmp_path / "run",
        preset="tiny",
        recipe=preset_recipe("tiny", epochs=1, iterations=1),
        device="cpu",
        precision="float32",
    )
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
    assert left == {"cases", "checkpoint.safetensors", "history.csv"}


def test_a_loss_that_is_no_number_stops_the_run(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    training = TrainingRun(tmp_path, CONFIG, RECIPE, device="cpu", precision="float32")
    torch.nn.init.constant_(training.network.heads[0].bias, float("nan"))
    with pytest.raises(ConfigError, match="no number at step 1"):
        run(training.train(prepared[:3], prepared[3:]))
    assert not training.checkpoint.exists()


def test_a_run_is_not_written_over_unasked(
    trained: tuple[Path, list[Progress]], dataset_folder: Path
) -> None:
    request = TrainingRequest(
        dataset=find_dataset(dataset_folder),
        folder=trained[0],
        preset="tiny",
        recipe=preset_recipe("tiny"),
    )
    with pytest.raises(WriteError, match=r"--resume.*--overwrite"):
        run(train_model(request))
