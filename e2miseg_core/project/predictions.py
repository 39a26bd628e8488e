"""The predictions of a case: one numbered folder each, complete or not there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import write_json
from e2miseg_core.project.clock import now
from e2miseg_core.project.edges import EDGES, Edge, read_edges

__all__ = [
    "EDGE_MAP",
    "ERROR_MAP",
    "LABELS",
    "LOG_PROBABILITIES",
    "PROBABILITIES",
    "CasePrediction",
    "complete_prediction",
    "read_prediction",
]

# Stores in the folder of any prediction, be it in a project or not.
LABELS = "labels.ome.zarr"
ERROR_MAP = "error_map.ome.zarr"
EDGE_MAP = "edge_map.ome.zarr"
PROBABILITIES = "probabilities.ome.zarr"
LOG_PROBABILITIES = "log_probabilities.ome.zarr"

PREDICTION = "prediction.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class CasePrediction:
    """One complete prediction of a case.

    Attributes
    ----------
    number : int
        From 1, in the order in which they were begun.
    folder : Path
        `predictions/NNNN` of the case.
    version : int
        The model version that predicted.
    figures : mapping
        What the job found, JSON values.
    made : str
        When, ISO 8601.
    """

    number: int
    folder: Path
    version: int
    figures: Mapping[str, Any]
    made: str

    @property
    def labels(self) -> Path:
        """Store of the labels."""
        return self.folder / LABELS

    @property
    def error_map(self) -> Path:
        """Store of the expected error, uint8."""
        return self.folder / ERROR_MAP

    @property
    def edge_map(self) -> Path | None:
        """Store of the edge probability, uint8; None if the model has no edge head."""
        path = self.folder / EDGE_MAP
        return path if path.is_dir() else None

    @property
    def log_probabilities(self) -> Path:
        """Store of the coded log-probabilities."""
        return self.folder / LOG_PROBABILITIES

    @property
    def edges_path(self) -> Path:
        """Where the ranked edges stand, once they are ranked."""
        return self.folder / EDGES

    def edges(self) -> list[Edge] | None:
        """Return the ranked edges, best first; None if they were not ranked yet.

        Raises
        ------
        ReadError
            If their file is damaged.
        """
        if not self.edges_path.exists():
            return None
        return list(read_edges(self.edges_path).edges)


def complete_prediction(
    folder: Path, *, version: int, figures: Mapping[str, Any]
) -> None:
    """Declare a prediction complete: from now on the case counts it.

    Parameters
    ----------
    folder : Path
        `predictions/NNNN`, its stores written.
    version : int
        The model version that predicted.
    figures : mapping
        JSON values to keep with it.

    Raises
    ------
    ReadError
        If the labels are not there.
    WriteError
        If it cannot be written.
    """
    if not (folder / LABELS / "zarr.json").is_file():
        raise ReadError(
            found=f"no labels in {folder}",
            needed="the stores of a whole prediction",
            do="predict again",
        )
    write_json(
        folder / PREDICTION,
        {
            "format": _FORMAT,
            "version": version,
            "made": now(),
            "figures": dict(figures),
        },
    )


def read_prediction(folder: Path) -> CasePrediction | None:
    """Read a prediction's folder; None where it is not complete."""
    try:
        stored = json.loads((folder / PREDICTION).read_text(encoding="utf-8"))
        if stored["format"] != _FORMAT:
            return None  # of a newer program: not for us
        return CasePrediction(
            number=int(folder.name),
            folder=folder,
            version=int(stored["version"]),
            figures=stored["figures"],
            made=str(stored["made"]),
        )
    except (OSError, ValueError, TypeError, LookupError):
        return None
