"""Fine-tuning on a data set: the parent's contract, and the gate."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from e2miseg_core.cli import run_command
from e2miseg_core.errors import DatasetError
from e2miseg_core.model import load_model, save_model
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.training.dataset_tuning import (
    DatasetTuning,
    check_dataset,
    tuning_recipe,
    unseen_split,
)
from e2miseg_core.training.splits import Split, split_cases

QUICK = ["--device", "cpu", "--precision", "float32", "--json"]


@pytest.fixture(scope="module")
def parent(bright_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of bright boxes, with a recipe of few steps in its card."""
    model = load_model(bright_model)
    stored = {"epochs": 4, "iterations": 12, "learning_rate": 1e-2}
    path = tmp_path_factory.mktemp("parent") / "parent.safetensors"
    save_model(model.network, replace(model.card, training={"recipe": stored}), path)
    return path


def tune(
    model: Path,
    data: Path,
    out: Path,
    more: list[str],
    capsys: pytest.CaptureFixture[str],
) -> dict[str, object]:
    call = ["finetune", "--model", str(model), "--dataset", str(data), "-o", str(out)]
    assert run_command([*call, *QUICK, *more]) == 0
    result: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_a_model_that_is_not_worse_is_kept_with_its_parent(
    parent: Path,
    dark_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, more = tmp_path / "run", ["--epochs", "2"]
    result = tune(parent, dark_dataset, out, more, capsys)
    assert result["kept"] is True
    assert float(str(result["dice_after"])) > float(str(result["dice_before"]))
    assert result["known_cases"] == 0
    old, model = load_model(parent), load_model(out / "model.safetensors")
    assert model.card.parent == old.card.hash
    for name in ("labels", "channels", "spacing", "normalizations", "network"):
        assert getattr(model.card, name) == getattr(old.card, name), name
    assert model.card.metrics["mean_dice"] == result["dice_after"]
    # It began with the parent's weights: random ones would be far away.
    before, after = (dict(m.network.named_parameters()) for m in (old, model))
    for name, weight in before.items():
        assert torch.max(torch.abs(weight - after[name])) < 0.2, name


def test_a_model_that_is_worse_is_not_kept_and_that_is_no_failure(
    parent: Path,
    dark_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, more = tmp_path / "run", ["--epochs", "1", "--learning-rate", "0.3"]
    result = tune(parent, dark_dataset, out, more, capsys)
    assert result["kept"] is False
    assert str(result["sentence"]).startswith("Not kept, since it ")
    assert not (out / "model.safetensors").exists()


def test_other_labels_or_channels_are_refused(
    bright_model: Path, dark_dataset: Path
) -> None:
    card, data = load_model(bright_model).card, find_dataset(dark_dataset)
    assert check_dataset(data, card).labels == card.labels
    extra = LabelInfo(value=6, name="label 6", color="#56B4E9")
    for wrong in (
        replace(data, labels=(*data.labels, extra)),
        replace(data, labels=(replace(data.labels[0], name="liver"),)),
        replace(data, channels=("a", "b")),
    ):
        with pytest.raises(DatasetError, match="the model"):
            check_dataset(wrong, card)


def test_what_the_parent_has_learnt_is_not_unseen(
    bright_model: Path, dark_dataset: Path, tmp_path: Path
) -> None:
    model, data = load_model(bright_model), find_dataset(dark_dataset)
    names = [f"case_{number}" for number in range(20)]
    plain = split_cases(names, fold=0)
    one, others = plain.unseen[0], plain.unseen[1:]

    def split(stored: dict[str, object]) -> tuple[Split, int]:
        card = replace(model.card, training=stored)
        parent = replace(model, card=card)
        request = DatasetTuning(parent=parent, dataset=data, folder=tmp_path)
        return unseen_split(request, names)

    own, other = {"dataset": data.name}, {"dataset": "another"}
    assert split({**own, "training": list(plain.training)}) == (plain, 0)
    assert split({**other, "training": names}) == (plain, 0)
    known = {**own, "selection": [one]}
    for stored in (known, {**other, "dataset_tunings": [known, other]}):
        found, n_known = split(stored)
        assert n_known == 1
        assert found.unseen == others
        assert set(found.training) == {*plain.training, one}
        assert found.selection == plain.selection
    # Its group is known with it, by what the card says.
    grouped = {**known, "groups": dict.fromkeys(plain.unseen[:2], "patient")}
    assert split(grouped)[0].unseen == others[1:]
    with pytest.raises(DatasetError, match=r"every unseen case.*--fold 3"):
        split({**own, "training": names, "fold": 3})
    tuned = {**other, "fold": 4, "dataset_tunings": [{**own, "training": names}]}
    with pytest.raises(DatasetError, match=r"every unseen case.*--fold 0"):
        split(tuned)


def test_the_recipe_is_gentler_and_never_begins_anew(
    bright_model: Path, dark_dataset: Path, tmp_path: Path
) -> None:
    model = load_model(bright_model)
    stored = {"epochs": 40, "iterations": 7, "learning_rate": 0.02, "rescue_after": 0.1}
    card = replace(model.card, training={"recipe": stored})
    request = DatasetTuning(
        parent=model, dataset=find_dataset(dark_dataset), folder=tmp_path
    )
    recipe = tuning_recipe(card, request)
    assert (recipe.epochs, recipe.iterations, recipe.rescue_after) == (10, 7, 0)
    assert recipe.learning_rate == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "either --project, or --model and --dataset"),
        (["--dataset", "D", "-o", "R"], "either --project, or --model and --dataset"),
        (["--dataset", "D", "--model", "M"], "-o RUN"),
        (["--project", "P", "--dataset", "D"], "either --project"),
        (["--dataset", "D", "--model", "M", "-o", "R", "--steps", "3"], "--steps"),
        (["--project", "P", "--epochs", "3"], "--epochs"),
    ],
)
def test_options_that_do_not_belong_together_are_one_line(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["finetune", *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
