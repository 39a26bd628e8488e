"""The numbers of a training as options."""

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2miseg_core.cli.options import RECIPE
from e2miseg_core.errors import ConfigError

if TYPE_CHECKING:
    from e2miseg_core.training.recipe import Recipe

__all__ = [
    "Epochs",
    "Iterations",
    "LearningRate",
    "OptimizerName",
    "Schedule",
    "Settings",
    "SsForm",
    "WarmUp",
    "WeightAverage",
    "WeightDecay",
    "Workers",
    "change_recipe",
]

# Numbers of the recipe that are decided elsewhere, and where.
PLANNED = {"batch_size": "use --batch-size"}
KINDS = {  # a bool is an int, too
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "whole numbers with commas",
    str: "a word",
}

Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="N",
        min=1,
        help="Epochs; the preset's if left out.",
        rich_help_panel=RECIPE,
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        "--iterations",
        metavar="N",
        min=1,
        help="Steps in an epoch.",
        rich_help_panel=RECIPE,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", help="Largest learning rate.", rich_help_panel=RECIPE
    ),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        "--weight-decay", help="Decay of the weights.", rich_help_panel=RECIPE
    ),
]
OptimizerName = Annotated[
    str | None,
    typer.Option("--optimizer", help="adamw, adam or sgd.", rich_help_panel=RECIPE),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule", help="poly, cosine or constant.", rich_help_panel=RECIPE
    ),
]
WarmUp = Annotated[
    int | None,
    typer.Option(
        "--warm-up",
        metavar="N",
        min=0,
        help="Steps in which the rate rises.",
        rich_help_panel=RECIPE,
    ),
]
WeightAverage = Annotated[
    float | None,
    typer.Option(
        "--weight-average",
        help="Largest decay of a moving average of the weights, such as 0.999.",
        rich_help_panel=RECIPE,
    ),
]
SsForm = Annotated[
    str | None,
    typer.Option(
        "--ss",
        help="Scale-sensitive loss: paper, relative or off.",
        rich_help_panel=RECIPE,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other number of the recipe, such as gradient_clip=1; repeat.",
        rich_help_panel=RECIPE,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Batches made at a time, in advance."
    ),
]


def change_recipe(
    recipe: "Recipe", named: dict[str, Any], settings: Sequence[str] | None
) -> "Recipe":
    """Change some numbers of a recipe.

    Parameters
    ----------
    recipe : Recipe
    named : dict
        By field; None changes nothing.
    settings : sequence of str, optional
        NAME=VALUE.

    Raises
    ------
    ConfigError
        For a name that no recipe has, or a value that is none of its kind.
    """
    from dataclasses import replace

    given = {name: value for name, value in named.items() if value is not None}
    for text in settings or ():
        name, value = _read(text, recipe)
        given[name] = value
    return replace(recipe, **given)


def _read(text: str, recipe: "Recipe") -> tuple[str, Any]:
    name, _, value = text.partition("=")
    name = name.strip().replace("-", "_")
    known = recipe.to_json()
    if name not in known:
        near = difflib.get_close_matches(name, known)
        raise ConfigError(
            found=f"--set {text}",
            needed=f"NAME=VALUE with one of {', '.join(near or known)}",
            do="correct the name; docs/training.md tells what each means",
        )
    if name in PLANNED:
        raise ConfigError(
            found=f"--set {text}",
            needed="a number that the plan does not decide",
            do=PLANNED[name],
        )
    old = known[name]
    try:
        return name, _of_kind(value, old)
    except ValueError as error:
        kind = next(words for one, words in KINDS.items() if isinstance(old, one))
        raise ConfigError(
            found=f"--set {text}",
            needed=f"{kind}, such as {_shown(old)}",
            do="correct the value",
        ) from error


def _shown(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_kind(value: str, old: Any) -> Any:
    """Read a value as what stands there now is."""
    if isinstance(old, bool):
        if value.lower() not in ("true", "false"):
            raise ValueError(value)
        return value.lower() == "true"
    if isinstance(old, tuple):
        return tuple(int(part) for part in value.split(",") if part)
    return type(old)(value)
