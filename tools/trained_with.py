"""The options of `e2miseg train` that a model was trained with, from its card."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import network_from_json, preset_config
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.recipes import preset_recipe

__all__ = ["options_of", "switches_of"]

DEFAULT_PRESET = "small"
# Decided by the plan, told by its own options.
PLANNED_RECIPE = ("batch_size",)
PLANNED_OF_SLICES = (*PLANNED_RECIPE, "mirror_axes")
PLANNED_NETWORK = (
    *("in_channels", "n_classes", "patch_size", "stem_stride"),
    *("axis", "slice_size", "thickness"),
)


def options_of(card: ModelCard) -> list[str]:
    """What to tell `e2miseg train` besides data, fold and texts to get this recipe.

    Parameters
    ----------
    card : ModelCard
        Of a trained model; cards of old trainings, without a plan, have no options of
        the plan.

    Returns
    -------
    list of str
        Empty where everything was left to the preset and the plan.
    """
    training = card.training
    preset = str(training["preset"])
    found = [] if preset == DEFAULT_PRESET else ["--preset", preset]
    found += _seed_and_recipe(preset, training["recipe"])
    found += _network(preset, card)
    found += _plan(training.get("plan", {}))
    return found


def switches_of(card: ModelCard) -> dict[str, Any]:
    """The network's configuration, without what the plan decides."""
    config = network_from_json(card.network).to_json()
    return {k: v for k, v in config.items() if k not in PLANNED_NETWORK}


def _seed_and_recipe(preset: str, kept: Mapping[str, Any]) -> Iterator[str]:
    planned = PLANNED_OF_SLICES if preset == "ehanet" else PLANNED_RECIPE
    usual = preset_recipe(preset).to_json()
    given = Recipe.from_json(kept).to_json()
    for name, value in given.items():
        if name in planned or value == usual[name]:
            continue
        yield from ("--set", f"{name}={_text(value)}")


def _network(preset: str, card: ModelCard) -> Iterator[str]:
    config = network_from_json(card.network)
    usual = preset_config(
        preset, in_channels=len(card.channels), n_classes=len(card.labels) + 1
    )
    given, base = _flat(config.to_json()), _flat(usual.to_json())
    for name, value in given.items():
        if name.partition(".")[0] in PLANNED_NETWORK or value == base.get(name):
            continue
        yield from ("--network", f"{name}={json.dumps(value, separators=(',', ':'))}")


def _plan(plan: Mapping[str, Any]) -> Iterator[str]:
    """What the user chose of the plan."""
    chosen = set(plan.get("chosen", ()))
    options = {"spacing": "--spacing", "patch_size": "--patch"}
    for name, option in options.items():
        if name in chosen:
            yield from (option, _text(plan[name]))
    if "batch_size" in chosen:
        yield from ("--batch-size", str(plan["batch_size"]))
    if "normalizations" in chosen:
        for rule in plan["normalizations"]:
            name = "nonzero" if rule.get("nonzero") else rule["scheme"]
            yield from ("--normalization", "ct" if name == "clipped" else name)
    if "anisotropic" in chosen:
        yield "--dummy-2d" if plan["anisotropic"] else "--no-dummy-2d"
    config = plan.get("network", {}).get("config", {})
    if "stem_stride" in chosen:
        yield from ("--stem", _text(config["stem_stride"]))
    if "slice_axis" in chosen:
        yield from ("--slice-axis", "zyx"[config["axis"]])


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Fields of groups as GROUP.NAME."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value)
