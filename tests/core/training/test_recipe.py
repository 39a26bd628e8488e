"""The numbers of a run: schedules by hand, the published recipes, old cards."""

import math
from dataclasses import replace
from typing import Any

import pytest

from e2miseg_core.errors import ConfigError
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.recipes import RECIPES, preset_recipe

SHORT = Recipe(epochs=4, iterations=5, learning_rate=0.1)


def test_the_published_rate_falls_once_an_epoch() -> None:
    recipe = preset_recipe("acdc")
    assert recipe.learning_rate_at(0) == 1e-3
    assert recipe.learning_rate_at(249) == 1e-3
    assert recipe.learning_rate_at(250) == pytest.approx(1e-3 * 0.999**0.9)
    assert recipe.learning_rate_at(249_999) == pytest.approx(1e-3 * 0.001**0.9)


@pytest.mark.parametrize(
    ("schedule", "step", "rate"),
    [
        ("poly", 0, 0.1),
        ("poly", 10, 0.1 * 0.5**0.9),
        ("cosine", 5, 0.1 * (1 + math.cos(math.pi / 4)) / 2),
        ("cosine", 10, 0.05),
        ("constant", 19, 0.1),
    ],
)
def test_the_rate_by_hand(schedule: str, step: int, rate: float) -> None:
    recipe = replace(SHORT, schedule=schedule)
    assert recipe.learning_rate_at(step) == pytest.approx(rate)


def test_warm_up_rises_in_equal_steps() -> None:
    recipe = replace(SHORT, schedule="constant", warm_up=4)
    rates = [recipe.learning_rate_at(step) for step in range(5)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def test_the_recipes_are_those_of_the_specification() -> None:
    """Section A.6, row by row."""
    for name in ("acdc", "brain", "pet", "lung"):
        recipe = RECIPES[name]
        assert (recipe.optimizer, recipe.momentum) == ("sgd", 0.99)
        assert (recipe.weight_decay, recipe.decay_all) == (3e-5, True)
        assert (recipe.epochs, recipe.iterations) == (1000, 250)
        assert recipe.validation_patches == 50
        assert recipe.gradient_clip == 12
        assert recipe.seed == 12345
    assert [RECIPES[n].batch_size for n in ("acdc", "brain", "pet", "lung")] == [
        *(4, 2, 4, 2)
    ]
    assert [RECIPES[n].ss_weight for n in ("acdc", "brain", "pet", "lung")] == [
        *(1.45, 1.45, 2.0, 1.45)
    ]


def test_a_recipe_of_an_old_card_means_what_it_meant() -> None:
    old = {
        "epochs": 64,
        "iterations": 50,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
        "gradient_clip": 12.0,
        "ss_form": "paper",
        "ss_weight": 1.45,
        "validate_every": 8,
        "mirror_axes": [2],
        "seed": 12345,
    }
    recipe = Recipe.from_json(old)
    assert (recipe.optimizer, recipe.schedule) == ("adamw", "poly")
    assert recipe.learning_rate_at(1600) == pytest.approx(1e-3 * 0.5**0.9)
    assert (recipe.weight_average, recipe.warm_up, recipe.rescue_after) == (0, 0, 0)
    assert recipe.augmentation == "first"
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    "values",
    [{"epochs": 1, "iterations": 1, "magic": 2}, {"epochs": "many"}, 5],
)
def test_a_recipe_of_another_version_is_refused_in_one_line(values: Any) -> None:
    with pytest.raises(ConfigError, match="recipe") as caught:
        Recipe.from_json(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"warm_up": -1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"weight_decay": -1.0},
        {"momentum": 1.0},
        {"weight_average": 1.0},
        {"optimizer": "lion"},
        {"schedule": "steps"},
        {"ss_form": "other"},
        {"edge_width": 0},
        {"seed": -1},
        {"seed": 99999999999999999999999},
        {"gradient_clip": math.nan},
        {"gradient_clip": 0.0},
        {"learning_rate": -1.0},
        {"learning_rate": math.inf},
        {"weight_decay": math.nan},
        {"momentum": math.nan},
        {"weight_average": -0.1},
        {"rescue_after": math.nan},
        {"validation_patches": -1},
        {"validate_every": 0},
        {"batch_size": 0},
        {"iterations": 0},
        {"ss_weight": math.nan},
        {"augmentation": "other"},
        {"mirror_axes": (3,)},
        {"mirror_axes": (1, 1)},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(SHORT, **wrong)
