"""The loop: exact resume, damage, and the whole of `train`."""

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from e2miseg_core.errors import (
    ConfigError,
    E2MISegError,
    ReadError,
    WriteError,
)
from e2miseg_core.io import open_labels, write_labels
from e2miseg_core.model import Model, load_model
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.networks import network_to_json, preset_config
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import Progress, run
from e2miseg_core.training import calibrate
from e2miseg_core.training.augment import Augmentation
from e2miseg_core.training.dataset import Dataset, find_dataset
from e2miseg_core.training.plan import PlanOverrides, TrainingPlan
from e2miseg_core.training.planning import make_plan
from e2miseg_core.training.prepare import PreparedCase, prepare_case
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.run import TrainingRun
from e2miseg_core.training.survey import take_fingerprint
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
        run(prepare_case(case, dataset, (1.0, 1.0, 1.0), [Normalization()], folder))
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
        list(csv.DictReader((tmp_path / name / "history.csv").read_text().splitlines()))
        for name in ("whole", "resumed")
    )
    for row, other in zip(first, second, strict=True):
        for column in ("epoch", "learning_rate", "loss", "selection_dice", "smoothed"):
            assert row[column] == other[column]
    assert [row["epoch"] for row in first] == ["1", "2", "3", "4"]


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
    with pytest.raises(ConfigError, match=r"other settings .*epochs 5, the run has 4"):
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


def test_ct_is_clipped_to_the_foreground_and_spacing_is_the_median(
    dataset_folder: Path,
) -> None:
    def planned(dataset: Dataset) -> TrainingPlan:
        fingerprint = run(take_fingerprint(dataset, dataset.cases))
        overrides = PlanOverrides()
        return make_plan(fingerprint, CONFIG, overrides, batch_size=2, keep_patch=False)

    dataset = find_dataset(dataset_folder)
    plan = planned(dataset)
    assert all(0.8 <= s <= 1.3 for s in plan.spacing)
    assert plan.normalizations == (Normalization(),)
    rule = planned(replace(dataset, channels=("CT",))).normalizations[0]
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
    assert "<h2>Worst cases</h2>" in (folder / "report.html").read_text("utf-8")


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


def test_a_temperature_is_of_the_precision_that_is_predicted_in(
    prepared: list[PreparedCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = TrainingRun(tmp_path, CONFIG, RECIPE, device="cpu", precision="bfloat16")
    card = ModelCard(
        name="x",
        labels=(LabelInfo(value=1, name="box", color="#E69F00"),),
        channels=("CT",),
        normalizations=(Normalization(),),
        spacing=(1.0, 1.0, 1.0),
        patch_size=CONFIG.patch_size,
        network=network_to_json(CONFIG),
    )
    model = Model(network=training.network.eval(), card=card)
    found = {}
    for least in (0.0, 1.1):
        monkeypatch.setattr(calibrate, "SAME_LABELS", least)
        found[least] = run(calibrate.calibrate_on(model, training, prepared[:2]))
    assert found[0.0].precisions == ("float32", "bfloat16")
    assert found[1.1].precisions == ("float32",)
    training.precision = "float32"
    in_float32 = run(calibrate.calibrate_on(model, training, prepared[:2]))
    assert found[1.1].temperature == in_float32.temperature
    told = [card.calibration["labels_equal_to_float32"] for card in found.values()]
    assert told[0] == told[1]


def test_losses_that_are_no_numbers_stop_the_run(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    training = TrainingRun(tmp_path, CONFIG, RECIPE, device="cpu", precision="float32")
    torch.nn.init.constant_(training.network.heads[0].bias, float("nan"))
    with pytest.raises(ConfigError, match=r"3 batches in a row.*up to step 3"):
        run(training.train(prepared[:3], prepared[3:]))
    assert not training.checkpoint.exists()
    assert "step 2: the loss was no number" in (tmp_path / "log.txt").read_text()


def test_one_damaged_patch_costs_one_batch(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    class SpoiltOnce(Augmentation):
        calls = 0

        def __call__(self, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
            image, classes = super().__call__(*given)
            self.calls += 1
            return image * (float("nan") if self.calls == 3 else 1), classes

    training = TrainingRun(tmp_path, CONFIG, RECIPE, device="cpu", precision="float32")
    augment = SpoiltOnce(CONFIG.patch_size, (2,))
    result = run(training.train(prepared[:3], prepared[3:], augment))
    assert result.skipped == 1
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert [row["skipped"] for row in csv.DictReader(rows)] == ["1"] * 4
    weights = result.network.state_dict().values()
    assert all(bool(torch.isfinite(w).all()) for w in weights)


def test_a_network_that_finds_nothing_begins_anew_once_with_less_momentum(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    recipe = Recipe(
        epochs=3,
        iterations=1,
        optimizer="sgd",
        validate_every=1,
        learning_rate=1e-9,
        rescue_after=0.5,
    )
    training = TrainingRun(tmp_path, CONFIG, recipe, device="cpu", precision="float32")
    torch.nn.init.constant_(training.network.heads[0].bias[0], 99.0)  # background
    before = training.network.stem[0].weight.detach().clone()
    run(training.train(prepared[:3], prepared[3:]))
    log = (tmp_path / "log.txt").read_text()
    assert log.count("nothing found by epoch 2: beginning anew") == 1
    assert training.state.rescued
    assert not torch.allclose(training.network.stem[0].weight, before)
    # A resumed run goes on with less momentum, too.
    again = TrainingRun(tmp_path, CONFIG, recipe, device="cpu", precision="float32")
    again.resume()
    (group,) = again._trainee.optimizer.param_groups
    assert group["momentum"] == 0.95


@pytest.mark.parametrize("stop", [2, 3])  # before and after it begins anew
def test_a_rescued_run_resumes_bit_for_bit(
    prepared: list[PreparedCase], tmp_path: Path, stop: int
) -> None:
    recipe = Recipe(
        epochs=4, iterations=1, optimizer="sgd", validate_every=1, rescue_after=0.5
    )

    def begun(folder: Path) -> TrainingRun:
        folder.mkdir(exist_ok=True)
        made = TrainingRun(folder, CONFIG, recipe, device="cpu", precision="float32")
        torch.nn.init.constant_(made.network.heads[0].bias[0], 99.0)  # background
        return made

    whole = begun(tmp_path / "whole")
    run(whole.train(prepared[:3], prepared[3:]))
    stopped = begun(tmp_path / "resumed")
    job = stopped.train(prepared[:3], prepared[3:])
    while (step := next(job)).stage != "training" or step.done < stop:
        pass
    job.close()
    resumed = begun(tmp_path / "resumed")
    resumed.resume()
    run(resumed.train(prepared[:3], prepared[3:]))
    assert whole.state.rescued
    assert resumed.state.rescued
    for name, tensor in load_file(whole.checkpoint).items():
        assert torch.equal(load_file(resumed.checkpoint)[name], tensor), name


def test_a_checkpoint_of_an_earlier_version_is_refused_clearly(
    prepared: list[PreparedCase], tmp_path: Path
) -> None:
    training = train(tmp_path / "run", prepared, 4)
    with safe_open(training.checkpoint, "pt") as file:
        metadata = dict(file.metadata())
    state = json.loads(metadata["e2miseg_run"])
    del state["version"]  # as it was before there was one
    metadata["e2miseg_run"] = json.dumps(state)
    save_file(load_file(training.checkpoint), training.checkpoint, metadata)
    with pytest.raises(ConfigError, match=r"checkpoint of format 1.*--overwrite"):
        training.resume()


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
