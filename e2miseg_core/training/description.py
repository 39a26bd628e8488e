"""What a `dataset.json` says, of the Decathlon and of nnU-Net."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2miseg_core.errors import DatasetError

__all__ = ["read_description", "stated_channels", "stated_labels"]

IGNORE = "ignore"  # nnU-Net v2's name for voxels without a label


def read_description(path: Path) -> dict[str, Any]:
    """Read a `dataset.json`; empty where there is none, DatasetError if damaged."""
    if not path.is_file():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            found=f"{path} that is not readable JSON ({error})",
            needed="a description as the Decathlon or nnU-Net write it",
            do="mend the file, or remove it",
        ) from error
    return read if isinstance(read, dict) else {}


def stated_channels(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the channels in order, none where they are not stated."""
    stated = description.get("channel_names", description.get("modality"))
    if isinstance(stated, list):
        return tuple(map(str, stated))
    if not isinstance(stated, dict):
        return ()
    try:
        return tuple(str(stated[key]) for key in sorted(stated, key=int))
    except ValueError as error:
        raise DatasetError(
            found=f"channels {stated} in dataset.json",
            needed="a name for each of the numbers from 0",
            do="correct the file",
        ) from error


def stated_labels(description: Mapping[str, Any]) -> dict[int, str]:
    """Names by value; the Decathlon maps value to name, nnU-Net v2 name to value."""
    stated = description.get("labels")
    if not isinstance(stated, dict):
        return {}
    if IGNORE in stated:
        raise DatasetError(
            found="a label 'ignore' in dataset.json",
            needed="labels of all voxels",
            do="leave out the cases that are labelled in part, and remove it",
        )
    try:
        if all(str(key).isdigit() for key in stated):
            return {int(value): str(name) for value, name in stated.items()}
        return {int(value): str(name) for name, value in stated.items()}
    except (TypeError, ValueError) as error:
        raise DatasetError(
            found=f"labels {stated} in dataset.json",
            needed="one whole number a label",
            do="train on plain labels; regions are not supported",
        ) from error
