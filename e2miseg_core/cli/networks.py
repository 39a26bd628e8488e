"""`e2miseg networks`: every preset with its size."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output

__all__ = ["networks", "sizes_table"]

CAPTION = (
    "Multiply-adds of one patch with every supervised level: one multiplication with "
    "its addition counts 1; convolutions, matrix products and, as fvcore counts them, "
    "norms. Memory: weights and tensors of one forward pass in float32; libraries take "
    "more for their own work. *: the weights are tied to this patch size."
)


def networks(
    *,
    as_json: AsJson = False,
) -> None:
    """List the network presets: parameters, multiply-adds, patch, memory."""
    from e2miseg_core.networks.cost import preset_costs

    with Output(as_json=as_json) as output:
        rows = preset_costs()
        output.result({"networks": rows})
        output.table(Group(sizes_table(rows), "", _purposes(rows), "", CAPTION))


def sizes_table(rows: list[dict[str, Any]]) -> Table:
    """Sizes; 80 columns wide."""
    table = Table(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
    for name in ("preset", "form", "channels"):
        table.add_column(name, no_wrap=True)
    for name in ("parameters\n(trained)", "multiply-\nadds"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("patch (Z, Y, X)", no_wrap=True)
    table.add_column("memory", no_wrap=True, justify="right")
    for row in rows:
        channels = f"{row['in_channels']} -> {row['n_classes']}"
        table.add_row(row["preset"], row["form"], channels, *_sizes(row))
    return table


def _purposes(rows: list[dict[str, Any]]) -> Table:
    """What each preset is for, or what it lacks to be used."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    told = {row["preset"]: row.get("missing", row["summary"]) for row in rows}
    for preset, text in told.items():
        table.add_row(preset, text)
    return table


def _sizes(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Parameters, multiply-adds, patch and memory, as far as they are known."""
    patch = " x ".join(str(p) for p in row["patch_size"])
    patch += "" if row["any_patch"] else " *"
    if "missing" in row:
        return "", "", patch, ""
    parameters = f"{row['parameters']:,}"
    if row["trained_parameters"] != row["parameters"]:
        parameters += f"\n({row['trained_parameters']:,})"
    return (
        parameters,
        f"{row['multiply_adds'] / 1e9:.1f} G",
        patch,
        f"{row['forward_megabytes']:.0f} MB",
    )
