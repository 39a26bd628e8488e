"""The recipes of the presets: as published, and for a processor without a GPU."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from e2miseg_core.errors import ConfigError
from e2miseg_core.training.recipe import Recipe

__all__ = ["RECIPES", "preset_recipe"]

# Specification A.6. The published code validates 50 patches after each epoch.
_PUBLISHED = Recipe(
    epochs=1000,
    iterations=250,
    optimizer="sgd",
    learning_rate=1e-3,
    momentum=0.99,
    weight_decay=3e-5,
    rate_per_epoch=True,
    validate_every=1,
    validation_patches=50,
    rescue_after=0.1,  # epoch 100 of 1000
    augmentation="nnunet_code",
    cubic=True,
    mirror_axes=(0, 1, 2),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "tiny": Recipe(epochs=20, iterations=20),
        # After 700 steps on the hippocampus set: Dice 0.857, with 1e-3 0.847.
        "small": Recipe(
            epochs=64, iterations=50, learning_rate=3e-3, warm_up=50, validate_every=8
        ),
        "acdc": replace(_PUBLISHED, batch_size=4),
        "brain": replace(_PUBLISHED, batch_size=2),
        "pet": replace(_PUBLISHED, batch_size=4, ss_weight=2.0),
        "lung": replace(_PUBLISHED, batch_size=2),  # never published: A.7's assumption
        # Specification B.7; an epoch there is once over the pictures, which we count
        # in steps.
        "ehanet": Recipe(
            epochs=50,
            iterations=100,
            batch_size=16,
            optimizer="adam",
            learning_rate=1e-4,
            weight_decay=0.0,
            schedule="constant",
            validate_every=1,
            augmentation="ehanet",
            mirror_axes=(0, 1, 2),  # in the plane of the slices, as planned
            seed=42,
        ),
    }
)


def preset_recipe(preset: str, **changes: Any) -> Recipe:
    """The recipe of a preset, with some numbers changed; None changes nothing."""
    if preset not in RECIPES:
        raise ConfigError(
            found=f"the preset {preset!r}",
            needed=f"one of {', '.join(RECIPES)}",
            do="see `e2miseg networks`",
        )
    given = {k: v for k, v in changes.items() if v is not None}
    return replace(RECIPES[preset], **given)
