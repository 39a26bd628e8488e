"""`e2miseg info`: what an image is, without reading its voxels."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output

__all__ = ["info"]


def info(
    image: Annotated[
        Path, typer.Argument(metavar="INPUT", help="The image: .nii, .nii.gz, .zarr.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Tell the size, spacing and orientation of an image, and what predicting needs."""
    from e2miseg_core.describe import describe_volume
    from e2miseg_core.io import open_volume

    with Output(as_json=as_json) as output:
        values = describe_volume(open_volume(image))
        output.result({"input": str(image), **values}, _table(values))


def _table(values: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    unit = values["unit"]
    rows = {
        "format": values["format"],
        "size": _times(values["shape"]) + " voxels (Z, Y, X)",
        "channels": ", ".join(values["channels"]),
        "spacing": _times(values["spacing"]) + f" {unit} (Z, Y, X)",
        "orientation": f"{values['orientation']}: axes as shown; on disk "
        f"{values['stored_orientation']}" + (", oblique" if values["oblique"] else ""),
        "type": f"{values['dtype']}, {values['megabytes']:.1f} MB when read",
        "levels": ", ".join(_times(level) for level in values["levels"]),
    }
    for name, memory in values["memory_to_predict"].items():
        rows[f"predict with {name}"] = _memory_in_words(memory)
    for number, note in enumerate(values["notes"]):
        rows[f"note {number + 1}"] = note
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _memory_in_words(memory: dict[str, Any]) -> str:
    if "unfit" in memory:
        return f"no: {memory['unfit']}"
    words = f"about {memory['gigabytes']:.1f} GB of memory, {memory['tiles']} tiles"
    return f"{words}. {memory['doubt']}" if memory["doubt"] else words


def _times(numbers: list[float]) -> str:
    return " x ".join(f"{n:.4g}" for n in numbers)
