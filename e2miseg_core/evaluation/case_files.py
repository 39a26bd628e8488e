"""Comparing the files of one case."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.evaluation.case import evaluate_case
from e2miseg_core.evaluation.judging import Judging
from e2miseg_core.evaluation.pairing import check_grids
from e2miseg_core.evaluation.probabilities import ProbabilityMap
from e2miseg_core.evaluation.scores import ClassScores
from e2miseg_core.evaluation.structures import LabelKey, named_structures
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.io.address import Address

__all__ = ["compare_files"]

_SLAB_VOXELS = 8_000_000  # looked through at a time for the values there are


def compare_files(
    case: str,
    pair: tuple[Address, Address],
    judging: Judging,
    maps: Mapping[str, Address] | None,
) -> tuple[dict[LabelKey, ClassScores], set[int]]:
    """Scores of a case, and the label values that belong to no structure.

    Parameters
    ----------
    case : str
    pair : pair of Address
        Predicted and reference labels.
    judging : Judging
    maps : mapping of str to Address, or None
        Probabilities by case.

    Raises
    ------
    ReadError, GeometryError, ConfigError
        If a file cannot be read, lies on another grid or lacks a class.
    """
    first, second = (open_labels(address) for address in pair)
    check_grids(pair[0], first.geometry, pair[1], second.geometry)
    labels = [np.asarray(volume.data[0].compute()) for volume in (first, second)]
    spacing = second.geometry.in_unit("mm").spacing
    values = _values(labels[0]) | _values(labels[1])
    structures = judging.structures
    if structures is None:
        structures = named_structures(dict.fromkeys(values, ""))
    probabilities = None
    if maps is not None:
        probabilities = _open_probabilities(case, maps, judging)
        check_grids(maps[case], probabilities[1], pair[1], second.geometry)
    scores = evaluate_case(
        labels[0],
        labels[1],
        spacing,
        structures,
        tolerance_mm=judging.tolerances_mm,
        lesion_rule=judging.lesion_rule,
        probabilities=probabilities[0] if probabilities else None,
    )
    if any(not structure.values for structure in structures):
        return scores, set()
    judged = {value for structure in structures for value in structure.values}
    return scores, values - judged


def _values(labels: NDArray[np.unsignedinteger]) -> set[int]:
    """Label values above 0."""
    rows = max(1, _SLAB_VOXELS // max(1, labels[0].size))
    found: set[int] = set()
    for start in range(0, len(labels), rows):
        found.update(int(v) for v in np.unique(labels[start : start + rows]))
    return found - {0}


def _open_probabilities(
    case: str, maps: Mapping[str, Address], judging: Judging
) -> tuple[ProbabilityMap, Geometry]:
    if case not in maps:
        raise ReadError(
            found=f"{case}: no probabilities of this name",
            needed="a file for each case",
            do="predict it with --probabilities, or leave the option out",
        )
    volume = open_volume(maps[case])
    values = judging.class_values or tuple(range(volume.data.shape[0]))
    return ProbabilityMap(data=volume.data, class_values=values), volume.geometry
