"""`e2miseg networks`: every preset with its size."""

from typing import Any

from rich.table import Table

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output

__all__ = ["networks"]


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
    table = Table(title="Presets, for 1 channel and 2 classes", title_justify="left")
    for name in ("preset", "parameters", "multiply-adds", "patch (Z, Y, X)", "memory"):
        table.add_column(name, no_wrap=True)
    table.add_column("for")
    for row in rows:
        table.add_row(
            row["preset"],
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e9:.2f} G",
            " x ".join(str(p) for p in row["patch_size"]),
            f"{row['forward_megabytes']:.0f} MB",
            row["summary"],
        )
    return table
