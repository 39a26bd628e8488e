"""What the page of a starter says is what was trained."""

import pytest

from e2miseg_core.errors import ConfigError
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.networks import network_to_json, preset_config
from e2miseg_core.preprocess import Normalization
from e2miseg_core.training.recipes import preset_recipe
from tools.starter_page import check_alike, over_all
from tools.train_starter import Starter, make_data
from tools.trained_with import options_of, switches_of


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
    with pytest.raises(ConfigError, match="fold 3, trained with"):
        check_alike({0: {"options": []}, 3: {"options": ["--set", "epochs=9"]}})
    unit = {"hfr": {"spatial_query": "unit"}}
    with pytest.raises(ConfigError, match=r"fold 3, trained with .* another"):
        check_alike({0: {"options": []}, 3: {"options": [], "network": unit}})
    with pytest.raises(ConfigError, match="no report of fold 0"):
        check_alike({1: {"options": []}})


def test_the_network_of_a_fold_is_told_without_what_is_planned():
    plan = {"batch_size": 2, "chosen": []}
    one, other = (
        switches_of(card(plan, network={"patch_size": size, **changes}))
        for size, changes in (((32, 32, 32), {}), ((16, 32, 48), {"edge_head": True}))
    )
    assert one.pop("edge_head") is False
    assert other.pop("edge_head") is True
    assert one == other
    assert one["hfr"]["spatial_query"] == "rms"


def figures(case, group, dice):
    scores = {"1": {"dice": dice, "hd95_mm": 1.0, "nsd": 0.9}}
    return {"case": case, "group": group, "classes": scores}


def test_intervals_over_folds_draw_groups():
    def of(*cases):
        return {"evaluation": {"cases": list(cases)}}

    pairs = [figures(f"c{n}{side}", f"p{n}", n / 8) for n in range(8) for side in "ab"]
    grouped = over_all({0: of(*pairs[:6]), 1: of(*pairs[6:])})
    assert (grouped["n_cases"], grouped["n_groups"]) == (16, 8)
    alone = over_all({0: of(*({**c, "group": c["case"]} for c in pairs))})
    assert grouped["dice"] == alone["dice"] == pytest.approx(3.5 / 8)
    low, high = grouped["dice_interval"]
    assert high - low > 1.2 * (alone["dice_interval"][1] - alone["dice_interval"][0])
    with pytest.raises(ConfigError, match="case c0a, unseen in two folds"):
        over_all({0: of(*pairs), 1: of(pairs[0])})


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
