"""How a run begins: planned once, by one process, and on the same files."""

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from e2miseg_core.errors import ConfigError, WriteError
from e2miseg_core.networks import EHANetConfig, build_network
from e2miseg_core.progress import run
from e2miseg_core.training import stored_plan
from e2miseg_core.training.begin import begin_run, planned_recipe
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.training.distributed import Team
from e2miseg_core.training.first_card import first_card
from e2miseg_core.training.plan import PlanOverrides, TrainingPlan
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.train import TrainingRequest, plan_training_of
from e2miseg_core.training.trained_network import TrainedNetwork


def request(dataset: Path, folder: Path, **changes: Any) -> TrainingRequest:
    preset = changes.pop("preset", "tiny")
    return TrainingRequest(
        dataset=find_dataset(dataset, label_names={1: "box"}),
        folder=folder,
        preset=preset,
        recipe=changes.pop("recipe", preset_recipe(preset)),
        device="cpu",
        precision="float32",
        **changes,
    )


def planned(asked: TrainingRequest) -> TrainingPlan:
    return run(begin_run(asked, asked.split))[0].plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldTeam(Team):
    """A process that others tell what the first one said."""

    told: str = ""

    def copy_text(self, text: str, device: torch.device) -> str:
        assert text == ""
        assert device.type == "cpu"
        return self.told


@pytest.mark.parametrize("preset", ["tiny", "ehanet"])
def test_only_the_first_process_reads_the_cases_and_looks_for_weights(
    dataset_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
) -> None:
    def found(plan: TrainingPlan) -> Any:
        yield from ()
        network = plan.network
        if isinstance(network, EHANetConfig):
            network = replace(network, pretrained=False)
        return replace(plan, network=network, notes=("no weights",)), None

    monkeypatch.setattr("e2miseg_core.training.begin.find_first_weights", found)
    asked = request(dataset_folder, tmp_path / "run", preset=preset)
    plan = planned(asked)
    assert plan.notes == ("no weights",)

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("e2miseg_core.training.begin.find_first_weights", fail)
    monkeypatch.setattr(stored_plan, "take_fingerprint", fail)
    team = ToldTeam(rank=1, size=2, told=json.dumps(plan.to_json()))
    other = planned(replace(asked, team=team))
    assert other.network == plan.network
    assert json.dumps(other.to_json()) == json.dumps(plan.to_json())


def test_a_plan_over_a_run_is_shown_and_the_run_stays(
    dataset_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    first = run(plan_training_of(request(dataset_folder, folder)))
    (folder / "checkpoint.safetensors").write_bytes(b"state")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    overrides = PlanOverrides(batch_size=3)
    asked = request(dataset_folder, folder, overrides=overrides)
    with pytest.raises(WriteError, match="--overwrite"):
        run(plan_training_of(asked))
    other = run(plan_training_of(replace(asked, overwrite=True)))
    assert (first.batch_size, other.batch_size) == (2, 3)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_is_not_resumed_on_files_that_changed(
    dataset_folder: Path, tmp_path: Path
) -> None:
    data, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(dataset_folder, data)
    asked = request(data, folder)
    run(plan_training_of(asked))
    again = replace(asked, resume=True)
    assert run(plan_training_of(again)).batch_size == 2
    # Elsewhere, with the same sizes and times, they are the same files.
    moved = data.rename(tmp_path / "moved")
    again = request(moved, folder, resume=True)
    run(plan_training_of(again))

    unseen, learnt = again.split.unseen[0], [*again.split.training]
    for name in (unseen, again.split.selection[0], learnt[0], learnt[1]):
        label = moved / "labels" / f"{name}.nii.gz"
        os.utime(label, ns=(0, label.stat().st_mtime_ns + 1000))
        if name == unseen:  # nothing is learnt from it
            run(plan_training_of(again))
            continue
        with pytest.raises(ConfigError, match=r"changed since.*--overwrite") as caught:
            run(plan_training_of(again))
        assert "\n" not in str(caught.value)
    assert "and 2 more" in str(caught.value)


@pytest.mark.parametrize(
    ("preset", "changes", "recipe_axes", "mirrored"),
    [
        ("tiny", {}, [2], [2]),
        ("tiny", {"augmentation": "none"}, [2], []),
        ("ehanet", {}, [1, 2], [1, 2]),
        ("ehanet", {"mirror_axes": (2,)}, [2], [2]),
        ("ehanet", {"mirror_axes": ()}, [], []),
    ],
)
def test_the_card_tells_which_axes_were_mirrored(
    dataset_folder: Path,
    tmp_path: Path,
    preset: str,
    changes: dict[str, Any],
    recipe_axes: list[int],
    mirrored: list[int],
) -> None:
    asked = request(
        dataset_folder,
        tmp_path / "run",
        preset=preset,
        recipe=replace(preset_recipe(preset), **changes),
    )
    plan = run(plan_training_of(asked))
    recipe = planned_recipe(asked.recipe, plan)
    trained = TrainedNetwork(
        network=build_network(plan.network),
        best_epoch=1,
        averaged=False,
        selection_dice=0.5,
        seconds=1.0,
        samples_per_second=1.0,
        skipped=0,
        precision="float32",
        device="cpu",
        threads=2,
    )
    told = first_card(replace(asked, recipe=recipe), plan, asked.split, trained)
    assert told.training["mirror_axes"] == mirrored
    assert list(told.training["recipe"]["mirror_axes"]) == recipe_axes
    assert Recipe.from_json(told.training["recipe"]) == recipe
