"""The uncertain edges of a prediction, ranked, as a file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from e2miseg_core.boxes import Box, box_from_json
from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import write_json

__all__ = ["EDGES", "Edge", "EdgeList", "read_edges", "write_edges"]

EDGES = "edges.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One place where the labels may be wrong.

    Attributes
    ----------
    number : int
        Rank, from 1.
    box : Box
        Inside the volume.
    centre : tuple of int
        Voxel (Z, Y, X) to look at.
    expected_wrong : float
        Voxels expected to be wrong in the box.
    gain : float
        Expected gain in mean Dice from correcting the box.
    classes : tuple of int
        Label values that meet there.
    """

    number: int
    box: Box
    centre: tuple[int, int, int]
    expected_wrong: float
    gain: float
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeList:
    """All uncertain edges of a prediction.

    Attributes
    ----------
    edges : tuple of Edge
        Best first.
    total_expected : float
        Voxels expected to be wrong in the whole case.
    temperature : float
        Of the calibration that was in force.
    bias : tuple of float
        Its bias a class; empty if none was fitted.
    note : str
        How it was calibrated, in words.
    """

    edges: tuple[Edge, ...]
    total_expected: float
    temperature: float
    bias: tuple[float, ...]
    note: str


def write_edges(path: Path, edges: EdgeList) -> None:
    """Write `edges.json`, whole or not at all."""
    write_json(path, {"format": _FORMAT, **asdict(edges)})


def read_edges(path: Path) -> EdgeList:
    """Read `edges.json`.

    Raises
    ------
    ReadError
        If it is missing, damaged or of a newer format.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format"] != _FORMAT:
            raise _unreadable(path, f"the format {stored['format']}")
        return EdgeList(
            edges=tuple(_edge(values) for values in stored["edges"]),
            total_expected=float(stored["total_expected"]),
            temperature=float(stored["temperature"]),
            bias=tuple(float(value) for value in stored["bias"]),
            note=str(stored["note"]),
        )
    except ReadError:
        raise
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise _unreadable(path, f"no readable list ({error})") from error


def _edge(values: Mapping[str, Any]) -> Edge:
    z, y, x = (int(value) for value in values["centre"])
    return Edge(
        number=int(values["number"]),
        box=box_from_json(values["box"]),
        centre=(z, y, x),
        expected_wrong=float(values["expected_wrong"]),
        gain=float(values["gain"]),
        classes=tuple(int(value) for value in values["classes"]),
    )


def _unreadable(path: Path, what: str) -> ReadError:
    return ReadError(
        found=f"{path} with {what}",
        needed=f"a list of edges of format {_FORMAT}",
        do="rank the edges again with `e2miseg edges`",
    )
