"""What the page of a starter says is what was trained."""

import pytest

from e2miseg_core.errors import ConfigError
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.networks import network_to_json, preset_config
from e2miseg_core.preprocess import Normalization
from e2miseg_core.training.recipes import preset_recipe
from tools.starter_page import check_alike
from tools.train_starter import Starter, make_data
from tools.trained_with import options_of


def card(plan: dict, preset: str = "small", network: dict | None = None, **recipe):
    config = preset_config(preset, in_channels=1, n_classes=2, **(network or {}))
    return ModelCard(
        name="x",
        labels=(LabelInfo(value=1, name="one", color="#E69F00"),),
        channels=("CT",),
        normalizations=(Normalization(),),
        spacing=(1.0, 1.0, 1.0),
        patch_size=config.patch_size,
        network=network_to_json(config),
        training={
            "preset": preset,
            "plan": plan,
            "recipe": preset_recipe(preset, **recipe).to_json(),
        },
    )


def test_a_recipe_left_to_the_preset_needs_no_options():
    assert options_of(card({"batch_size": 5, "chosen": []}, batch_size=5)) == []


def test_options_are_those_of_the_training():
    plan = {
        "batch_size": 5,
        "patch_size": [64, 40, 40],
        "normalizations": [{"scheme": "clipped"}, {"scheme": "zscore", "nonzero": 1}],
        "anisotropic": False,
        "chosen": ["batch_size", "patch_size", "normalizations", "anisotropic"],
    }
    found = options_of(
        card(plan, "tiny", {"edge_head": True}, epochs=3, batch_dice=True, batch_size=5)
    )
    assert " ".join(found) == (
        "--preset tiny --set batch_dice=true --set epochs=3 --network edge_head=true "
        "--patch 64,40,40 --batch-size 5 --normalization ct --normalization nonzero "
        "--no-dummy-2d"
    )


def test_mirroring_is_an_option_but_of_slices_which_it_is_planned_for():
    plan = {"batch_size": 5, "chosen": []}
    found = options_of(card(plan, batch_size=5, mirror_axes=(0, 1, 2)))
    assert found == ["--set", "mirror_axes=0,1,2"]


def test_folds_of_different_recipes_have_no_mean():
    check_alike({0: {"options": []}, 3: {"options": []}})
    with pytest.raises(ConfigError, match="fold 3 trained with"):
        check_alike({0: {"options": []}, 3: {"options": ["--set", "epochs=9"]}})
    with pytest.raises(ConfigError, match="no report of fold 0"):
        check_alike({1: {"options": []}})


def test_a_half_made_training_set_is_made_again(tmp_path):
    code = (
        "import sys, pathlib; made = pathlib.Path(sys.argv[1]); made.mkdir(); "
        "(made / 'first').touch(); "
    )
    failing = Starter(
        data="", options=(), about={}, make=("-c", code + "sys.exit(1)", "{made}")
    )
    data = tmp_path / "set"
    with pytest.raises(ConfigError, match="ended with 1"):
        make_data(failing, data)
    assert not data.exists()
    whole = Starter(data="", options=(), about={}, make=("-c", code, "{made}"))
    make_data(whole, data)
    assert [path.name for path in data.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [data]
    make_data(failing, data)  # it is there
