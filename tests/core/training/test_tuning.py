"""The loop of a fine-tuning: patches of single slices, and changes as trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from e2miseg_core.errors import ConfigError
from e2miseg_core.model import Model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import build_network, network_to_json, preset_config
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import run
from e2miseg_core.training.augment import EHANET, FIRST, NNUNET, Augmentation
from e2miseg_core.training.batches import recipe_augmentation
from e2miseg_core.training.crops import CropSampler, crop_size, save_crop
from e2miseg_core.training.exam import HeldOut
from e2miseg_core.training.finetune_settings import FinetuneSettings
from e2miseg_core.training.patches import Sample
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.tuning import (
    FinetuneControl,
    Tuning,
    augmentation_as_trained,
)

PATCH = (8, 16, 12)


def test_a_network_of_single_slices_is_fine_tuned(
    tiny_model: Model, tmp_path: Path
) -> None:
    config = preset_config("ehanet", slice_size=(32, 32), pretrained=False)
    card = replace(
        tiny_model.card,
        labels=tiny_model.card.labels[:1],
        normalizations=(Normalization(),),
        patch_size=config.patch_size,
        network=network_to_json(config),
    )
    torch.manual_seed(3)
    random = np.random.default_rng(3)
    size = crop_size(config.patch_size)
    crop = Sample(
        image=random.normal(size=(1, *size)).astype(np.float32),
        classes=random.integers(0, 2, size).astype(np.uint8),
        valid=np.ones(size, np.bool_),
    )
    save_crop(tmp_path / "a.npz", crop)
    sampler = CropSampler([tmp_path / "a.npz"], config.patch_size)
    tuning = Tuning(
        tmp_path,
        Model(network=build_network(config), card=card),
        FinetuneSettings(steps=1, batch=2, device="cpu", precision="float32"),
        corrections=sampler,
        memory=sampler,
    )
    run(tuning.train(HeldOut(paths=()), FinetuneControl()))
    assert tuning.state.step == 1
    assert not tuning.state.diverged


def changed(augment: Augmentation) -> list[torch.Tensor]:
    """What becomes of one sample by many seeds."""
    values = np.random.default_rng(1).normal(size=(1, 16, 32, 24))
    sample = Sample(
        image=values.astype(np.float32), classes=(values[0] > 0).astype(np.uint8)
    )
    return [augment(sample, np.random.default_rng(seed))[0] for seed in range(12)]


@pytest.mark.parametrize(
    "recipe",
    [
        preset_recipe("small"),
        replace(preset_recipe("ehanet"), cubic=True),
        replace(preset_recipe("acdc"), mirror_axes=(0, 2)),
        replace(preset_recipe("tiny"), augmentation="none"),
    ],
)
def test_a_model_is_tuned_with_the_changes_of_its_training(
    tiny_model: Model, recipe: Recipe
) -> None:
    told: dict[str, Any] = {
        "recipe": recipe.to_json(),
        "mirror_axes": list(recipe.mirrored_axes),
    }
    card = replace(tiny_model.card, patch_size=PATCH, training=told)
    found = changed(augmentation_as_trained(card))
    expected = changed(recipe_augmentation(recipe, PATCH))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_models_whose_recipe_is_not_told_are_tuned_by_the_common_list(
    tiny_model: Model,
) -> None:
    card = replace(tiny_model.card, patch_size=PATCH, training={"mirror_axes": [1]})
    found = changed(augmentation_as_trained(card))
    expected = changed(Augmentation(PATCH, (1,), rules=NNUNET))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert augmentation_as_trained(card).rules is not EHANET


def test_models_from_before_recipes_named_their_list_are_tuned_by_the_first_one(
    tiny_model: Model,
) -> None:
    recipe = {"epochs": 1, "iterations": 1, "mirror_axes": [1]}
    card = replace(tiny_model.card, patch_size=PATCH, training={"recipe": recipe})
    found = changed(augmentation_as_trained(card))
    expected = changed(Augmentation(PATCH, (1,), rules=FIRST))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_recipe_of_another_version_is_refused_in_one_line(
    tiny_model: Model,
) -> None:
    def tuned(recipe: Any) -> ModelCard:
        return replace(tiny_model.card, training={"recipe": recipe})

    for recipe in ({"epochs": 1, "iterations": 1, "magic": 2}, {"epochs": "many"}, 5):
        with pytest.raises(ConfigError, match="recipe") as caught:
            augmentation_as_trained(tuned(recipe))
        assert "\n" not in str(caught.value)
