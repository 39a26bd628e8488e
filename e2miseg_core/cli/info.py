"""`e2miseg info`: what an image is, without reading its voxels."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import ChoiceError, E2MISegError, as_user_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2miseg_core.errors import Choice

__all__ = ["info"]

_DONE, _USER = 0, 2  # exit codes
_MOST_CHANNELS = 8  # named to people


def info(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Files, folders or URLs; what is meant in one with several images "
            "after #part=, a frame of a series after #frame=.",
        ),
    ],
    *,
    as_json: AsJson = False,
) -> int:
    """Tell the size, spacing and orientation of images, and what predicting needs.

    Of a file or folder with several images it lists them. What cannot be read does not
    keep the others from being told.
    """
    code = _DONE
    with Output(as_json=as_json) as output:
        for image in images:
            try:
                _tell(image, output, named=len(images) > 1)
            except Exception as error:
                mendable = as_user_error(error)
                if mendable is None or len(images) == 1:
                    raise
                _tell_error(image, mendable, output)
                code = _USER
    return code


def _tell(image: str, output: Output, *, named: bool) -> None:
    from e2miseg_core.describe import describe_volume
    from e2miseg_core.io import Address, open_volume
    from e2miseg_core.io.remote.files import reporting_downloads

    try:
        with reporting_downloads(output.stages):
            values = describe_volume(open_volume(image))
    except ChoiceError as error:
        found = {"input": image, "choices": [asdict(one) for one in error.choices]}
        output.result(found, _list(image, error.choices))
        if Address.parse(image).frame is not None:
            output.warning(error.do)  # a frame of which of them?
        return
    output.result({"input": image, **values}, _table(values, image if named else ""))


def _tell_error(image: str, error: E2MISegError, output: Output) -> None:
    line = str(error)
    output.error(line if image in line else f"{image}: {line}", input=image)


def _list(image: str, choices: "Sequence[Choice]") -> Table:
    table = Table("part", "what", "size (Z, Y, X)", box=None, padding=(0, 2, 0, 0))
    table.title = f"{_plain(image)} holds several images; name one by #part="
    table.title_justify = "left"
    for choice in choices:
        table.add_row(_plain(choice.part), _plain(choice.title), _plain(choice.detail))
    return table


def _table(values: dict[str, Any], image: str) -> Table:
    from e2miseg_core.geometry import orientation_in_words

    table = Table.grid(padding=(0, 2))
    unit = values["unit"]
    rows = {"input": image} if image else {}
    rows |= {
        "format": _format_name(values["format"]),
        "size": _times(values["shape"]) + " voxels (Z, Y, X)",
        "channels": _channels(values["channels"]),
        "spacing": _times(values["spacing"]) + f" {unit} (Z, Y, X)",
        "orientation": orientation_in_words(
            values["orientation"], values["stored_orientation"]
        )
        + (", oblique" if values["oblique"] else ""),
        "type": f"{values['dtype']}, {values['megabytes']:.1f} MB when read",
        "levels": ", ".join(_times(level) for level in values["levels"]),
        "reading": _reading(values["unpacking"]),
    }
    if values["segments"] is not None:
        rows["labels"] = ", ".join(
            f"{value} {segment['name']}".strip()
            for value, segment in values["segments"].items()
        )
    if values["channels"] in (["image"], ["labels"]):
        del rows["channels"]  # a name that tells nothing
    for name, memory in values["memory_to_predict"].items():
        rows[f"predict with {name}"] = _memory_in_words(memory)
    for number, note in enumerate(values["notes"]):
        rows[f"note {number + 1}"] = note
    for name, value in rows.items():
        table.add_row(name, _plain(str(value)))
    return table


def _plain(text: str) -> str:
    """Keep rich from taking brackets of a file or a header for markup."""
    return text.replace("[", "\\[")


def _format_name(key: str) -> str:
    """Name of a format for users."""
    from e2miseg_core.io.formats import FORMATS

    names = {"dicom-seg": "DICOM segmentation", "rtstruct": "DICOM contours (RTSTRUCT)"}
    names |= {known.key: known.name for known in reversed(FORMATS)}
    return names.get(key, key)


def _channels(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_CHANNELS])
    left = len(names) - _MOST_CHANNELS
    return f"{shown} and {left} more" if left > 0 else shown


def _reading(unpacking: dict[str, float] | None) -> str:
    if unpacking is None:
        return "only what is asked for"
    if unpacking["done"] >= unpacking["megabytes"]:
        return "only what is asked for, unpacked already"
    return f"unpacked once, {unpacking['megabytes']:.1f} MB, when first asked for"


def _memory_in_words(memory: dict[str, Any]) -> str:
    if "unfit" in memory:
        return f"no: {memory['unfit']}"
    words = f"about {memory['gigabytes']:.1f} GB of memory, {memory['tiles']} tile"
    words += "s" * (memory["tiles"] != 1)
    return f"{words}. {memory['doubt']}" if memory["doubt"] else words


def _times(numbers: list[float]) -> str:
    return " x ".join(f"{n:.4g}" for n in numbers)
