"""`e2miseg networks`: every preset with its size."""

from typing import Any

from rich.table import Table

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output

__all__ = ["networks"]

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
        output.result({"networks": rows}, _table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Presets", title_justify="left", caption=CAPTION)
    table.caption_justify = "left"
    for name in ("preset", "form", "channels"):
        table.add_column(name, no_wrap=True)
    table.add_column("parameters", justify="right")
    for name in ("multiply-adds", "patch (Z, Y, X)", "memory"):
        table.add_column(name, no_wrap=True)
    table.add_column("for")
    for row in rows:
        table.add_row(
            row["preset"],
            row["form"],
            f"{row['in_channels']} -> {row['n_classes']}",
            *_sizes(row),
            row.get("missing", row["summary"]),
        )
    return table


def _sizes(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Parameters, multiply-adds, patch and memory, as far as they are known."""
    patch = " x ".join(str(p) for p in row["patch_size"])
    patch += "" if row["any_patch"] else " *"
    if "missing" in row:
        return "", "", patch, ""
    parameters = f"{row['parameters']:,}"
    if row["trained_parameters"] != row["parameters"]:
        parameters += f"\n{row['trained_parameters']:,} trained"
    return (
        parameters,
        f"{row['multiply_adds'] / 1e9:.1f} G",
        patch,
        f"{row['forward_megabytes']:.0f} MB",
    )
