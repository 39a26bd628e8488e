"""Numbers of a training from the command line."""

from dataclasses import replace
from pathlib import Path

import pytest

from e2miseg_core.cli.recipe import change_recipe
from e2miseg_core.errors import ConfigError
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.recipes import preset_recipe

RECIPE = Recipe(epochs=2, iterations=3)


def test_any_number_can_be_set() -> None:
    changed = change_recipe(
        RECIPE,
        {"learning_rate": 0.5, "epochs": None},
        [
            "gradient_clip=1",
            "mirror-axes=0,2",
            "batch_dice=true",
            "seed=7",
            "edge_loss=bce_dice",
        ],
    )
    assert (changed.epochs, changed.learning_rate) == (2, 0.5)
    assert changed.gradient_clip == 1.0
    assert changed.mirror_axes == (0, 2)
    assert changed.batch_dice is True
    assert changed.seed == 7
    assert changed.edge_loss == "bce_dice"
    assert change_recipe(RECIPE, {}, ["mirror_axes="]).mirror_axes == ()


@pytest.mark.parametrize(
    "text",
    [
        *("colour=1", "seed", "seed=x", "batch_dice=1", "mirror_axes=z", "=3"),
        *("batch_size=7", "batch-size=99", "seed=" + "9" * 23, "seed=" + "9" * 5000),
    ],
)
def test_what_cannot_be_set_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        change_recipe(RECIPE, {}, [text])
    assert "\n" not in str(caught.value)
    if "size" in text:
        assert "use --batch-size" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lerning_rate=3", "one of learning_rate;"),
        ("learning_rate=abc", "needed: a number, such as 0.001;"),
        ("batch_dice=1", "needed: true or false, such as false;"),
        ("epochs=1.5", "needed: a whole number, such as 2;"),
        ("mirror_axes=z", "needed: whole numbers with commas, such as 2;"),
    ],
)
def test_a_wrong_setting_is_told_what_is_meant(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        change_recipe(RECIPE, {}, [text])


def test_a_word_that_is_no_choice_names_its_option() -> None:
    with pytest.raises(ConfigError, match="relative, off; correct --ss"):
        change_recipe(RECIPE, {"ss_form": "foo"}, None)
    with pytest.raises(ConfigError, match="bce_dice; correct --set edge_loss"):
        change_recipe(RECIPE, {}, ["edge_loss=foo"])


def test_impossible_values_are_refused_by_the_recipe() -> None:
    with pytest.raises(ConfigError, match="momentum"):
        change_recipe(RECIPE, {}, ["momentum=2"])


def test_every_number_is_documented_with_its_default() -> None:
    recipe = preset_recipe("small")
    page = Path(__file__).parents[3] / "docs" / "training.md"
    text = page.read_text("utf-8").partition("### Every number")[2]
    told: dict[str, str] = {}
    for line in text.partition("## The run's folder")[0].splitlines():
        if line.startswith("| `"):
            names, values, meaning = (c.strip() for c in line.strip("|").split("|"))
            assert meaning
            listed = [name.strip("` ") for name in names.split(",")]
            told |= dict(zip(listed, values.split(", "), strict=True))
    settings = [f"{name}={value}" for name, value in told.items()]
    assert set(told) == set(recipe.to_json()) - {"batch_size"}
    assert change_recipe(replace(recipe, momentum=0.5, seed=1), {}, settings) == recipe
