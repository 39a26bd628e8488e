"""What `e2miseg train` may change of its network."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from e2miseg_core.cli.options import PLAN
from e2miseg_core.errors import ConfigError

__all__ = ["Faithful", "NetworkSettings", "network_changes"]

# Fields that are decided elsewhere, and where.
PLANNED = {
    "in_channels": "channels are counted in the data set",
    "n_classes": "labels are counted in the data set",
    "patch_size": "use --patch",
    "stem_stride": "use --stem",
    "axis": "use --slice-axis",
    "slice_size": "use --patch",
    "thickness": "use --patch",
}

Faithful = Annotated[
    bool,
    typer.Option(
        "--faithful",
        help="The form of the preset that was published, slips included.",
        rich_help_panel=PLAN,
    ),
]
NetworkSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        metavar="NAME=VALUE",
        help="A switch of the network, such as edge_head=true or mfga.enabled=false; "
        "repeat.",
        rich_help_panel=PLAN,
    ),
]


def network_changes(
    preset: str, settings: Sequence[str] | None, *, faithful: bool
) -> dict[str, Any]:
    """Arguments of `preset_config` that make the network which is asked for.

    Raises
    ------
    ConfigError
        For a preset, a name or a value that there is not.
    """
    from e2miseg_core.networks import change_network, preset_config

    for text in settings or ():
        name = text.partition("=")[0].strip().replace("-", "_")
        if name in PLANNED:
            raise ConfigError(
                found=f"--network {text}",
                needed="a switch that the data set or the plan does not decide",
                do=PLANNED[name],
            )
    base = preset_config(preset, faithful=faithful)
    changed = change_network(base, settings or ())
    given = {
        name: getattr(changed, name)
        for name in base.to_json()
        if getattr(changed, name) != getattr(base, name)
    }
    return given | ({"faithful": True} if faithful else {})
