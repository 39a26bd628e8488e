"""What the plan of a training may be told instead of decided."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from e2miseg_core.cli.options import PLAN
from e2miseg_core.errors import ConfigError

if TYPE_CHECKING:
    from e2miseg_core.training.plan import PlanOverrides

__all__ = [
    "AXES",
    "BatchSize",
    "Dummy2D",
    "Normalizations",
    "Patch",
    "PlanOnly",
    "SliceAxis",
    "Spacing",
    "StemStride",
    "plan_overrides",
]

Number = TypeVar("Number", int, float)
AXES = "zyx"

Spacing = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        metavar="Z,Y,X",
        help="The model's spacing in mm.",
        rich_help_panel=PLAN,
    ),
]
Patch = Annotated[
    str | None,
    typer.Option(
        "--patch",
        metavar="Z,Y,X",
        help="Voxels of a training patch.",
        rich_help_panel=PLAN,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        min=1,
        help="Patches in a batch.",
        rich_help_panel=PLAN,
    ),
]
Normalizations = Annotated[
    list[str] | None,
    typer.Option(
        "--normalization",
        metavar="NAME",
        help="zscore, nonzero or ct, for all channels; repeat for one a channel.",
        rich_help_panel=PLAN,
    ),
]
StemStride = Annotated[
    str | None,
    typer.Option(
        "--stem",
        metavar="Z,Y,X",
        help="Stride of the network's stem.",
        rich_help_panel=PLAN,
    ),
]
SliceAxis = Annotated[
    str | None,
    typer.Option(
        "--slice-axis",
        metavar="AXIS",
        help="z, y or x, for 2D networks.",
        rich_help_panel=PLAN,
    ),
]
Dummy2D = Annotated[
    bool | None,
    typer.Option(
        "--dummy-2d/--no-dummy-2d",
        help="Turn and scale slices, or whole patches.",
        rich_help_panel=PLAN,
    ),
]
PlanOnly = Annotated[
    bool,
    typer.Option(
        "--plan-only", help="Show the plan and train nothing.", rich_help_panel=PLAN
    ),
]


def plan_overrides(
    *,
    spacing: str | None,
    patch: str | None,
    batch_size: int | None,
    normalization: Sequence[str] | None,
    stem: str | None,
    slice_axis: str | None,
    dummy_2d: bool | None,
) -> "PlanOverrides":
    """Read the options; ConfigError for what cannot be read."""
    axis = None
    if slice_axis is not None:
        axis = AXES.find(slice_axis.lower())
        if len(slice_axis) != 1 or axis < 0:
            raise ConfigError(
                found=f"--slice-axis {slice_axis}",
                needed="z, y or x",
                do="correct the option",
            )
    numbers = {
        "spacing": _triple("--spacing", spacing, float),
        "patch_size": _triple("--patch", patch, int),
        "stem_stride": _triple("--stem", stem, int),
    }
    from e2miseg_core.training.plan import PlanOverrides

    return PlanOverrides(
        **numbers,
        batch_size=batch_size,
        normalizations=tuple(n.lower() for n in normalization or ()) or None,
        slice_axis=axis,
        anisotropic=dummy_2d,
    )


def _triple(option: str, text: str | None, kind: type[Number]) -> Any:
    if text is None:
        return None
    example = "3,0.8,0.8" if kind is float else "16,64,64"
    needed = f"three numbers along Z, Y, X, such as {example}"
    try:
        z, y, x = (kind(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            found=f"{option} {text}",
            needed=needed,
            do="correct the option",
        ) from error
    if not all(0 < part < math.inf for part in (z, y, x)):
        raise ConfigError(
            found=f"{option} {text}",
            needed=f"{needed}, each above 0",
            do="correct the option",
        )
    return z, y, x
