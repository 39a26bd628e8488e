"""The labelled cases of a training: which, and what is in them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from e2miseg_core.cli.options import DATA
from e2miseg_core.errors import ConfigError

if TYPE_CHECKING:
    from e2miseg_core.training.dataset import Dataset

__all__ = [
    "Channels",
    "Fold",
    "Group",
    "Groups",
    "Images",
    "LabelNames",
    "Labels",
    "OnlyLabel",
    "Split",
    "find_data",
]

LONGEST_VALUE = 10  # digits: labels are integers of 32 bits at most

Images = Annotated[
    Path | None,
    typer.Option(
        "--images", help="Folder of images, with --labels.", rich_help_panel=DATA
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="Folder of labels, with --images.", rich_help_panel=DATA
    ),
]
LabelNames = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="VALUE=NAME",
        help="Name of a label value; repeat.",
        rich_help_panel=DATA,
    ),
]
OnlyLabel = Annotated[
    str | None,
    typer.Option(
        "--only-label",
        metavar="NAME",
        help="Learn one label, by name or value; the others become background.",
        rich_help_panel=DATA,
    ),
]
Channels = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        help="Name of a channel, such as CT or 'MR T1'; repeat.",
        rich_help_panel=DATA,
    ),
]
Fold = Annotated[
    int,
    typer.Option(
        "--fold", help="Which fifth stays unseen, 0 to 4.", rich_help_panel=DATA
    ),
]
Split = Annotated[
    Path | None,
    typer.Option(
        "--split",
        metavar="FILE",
        help="Which cases to train on and which to report on: JSON with training, "
        "unseen, selection, or nnU-Net's splits_final.json, where --fold counts.",
        rich_help_panel=DATA,
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="REGEX",
        help="What is the same at the beginning of the names of one patient's "
        r"cases, such as 'patient\d+': they are kept together.",
        rich_help_panel=DATA,
    ),
]
Groups = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        metavar="FILE",
        help="The same by a table with the columns case,group, as for `evaluate`.",
        rich_help_panel=DATA,
    ),
]


def find_data(
    dataset: Path | None,
    images: Path | None,
    labels: Path | None,
    named: list[str] | None,
    channels: list[str] | None,
) -> "Dataset":
    """Find the training set that the options name; ConfigError for others."""
    from e2miseg_core.training.dataset import find_dataset, pair_folders

    if (dataset is None) == (images is None) or (images is None) != (labels is None):
        raise ConfigError(
            found="not exactly one training set",
            needed="either DATASET, or both --images and --labels",
            do="name the data set folder, or both folders",
        )
    names = _names(named or [])
    if images is not None and labels is not None:
        found = pair_folders(images, labels, label_names=names or None)
    elif dataset is not None:
        found = find_dataset(dataset, label_names=names or None)
    if not channels:
        return found
    if len(channels) != len(found.channels):
        raise ConfigError(
            found=f"{len(channels)} names of channels",
            needed=f"{len(found.channels)}, one for each",
            do="give --channel as often as there are channels",
        )
    return replace(found, channels=tuple(channels))


def _names(texts: list[str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for value, name in map(_pair, texts):
        if names.setdefault(value, name) != name:
            raise ConfigError(
                found=f"two names of the label {value}: {names[value]} and {name}",
                needed="one",
                do="give --label once for each value",
            )
    return names


def _pair(text: str) -> tuple[int, str]:
    value, equals, name = text.partition("=")
    if not equals or not _is_number(value) or not name:
        raise ConfigError(
            found=f"--label {text}",
            needed="a value and a name, such as --label 1=liver",
            do="correct the option",
        )
    return int(value), name


def _is_number(text: str) -> bool:
    """Whether it is a label value; `isdigit` alone takes superscripts for one."""
    return text.isascii() and text.isdigit() and len(text) < LONGEST_VALUE
