"""What corrections bring: the Dice of a case after each count of corrected regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.progress import Job
from e2miseg_core.project import Case, CasePrediction, Edge, read_edges
from e2miseg_core.project.label_store import LabelStore
from e2miseg_core.simulation.guides import (
    ENTROPY,
    ERROR_MAP,
    RANDOM_REPEATS,
    entropy_boxes,
    random_boxes,
)
from e2miseg_core.simulation.robot import Robot, read_labels, read_predicted
from e2miseg_core.simulation.settings import StudySettings
from e2miseg_core.uncertainty.regions import Triple, box_size

__all__ = ["CaseEffort", "correct_step_by_step", "measure_effort"]

_USUAL_EDGE = 9  # voxels, where the product proposed no box to take the size of


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEffort:
    """What correcting one case with each guide brought.

    Attributes
    ----------
    case : str
    expected, wrong : float, int
        Voxels that the product expected to be wrong in the whole case, and those that
        were.
    expected_in_edges, wrong_in_edges : float, int
        The same in all the uncertain edges that it offered.
    edges : int
        Their number.
    dice : mapping of str to tuple of float
        By guide: one value for each of `StudySettings.regions`; of random regions, the
        mean of the repeats.
    """

    case: str
    expected: float
    wrong: int
    expected_in_edges: float
    wrong_in_edges: int
    edges: int
    dice: Mapping[str, tuple[float, ...]]


def measure_effort(
    case: Case, prediction: CasePrediction, robot: Robot, settings: StudySettings
) -> Job[CaseEffort]:
    """Correct a case with each guide, and undo it again.

    Parameters
    ----------
    case : Case
        Nobody has corrected anything in it yet.
    prediction : CasePrediction
        With its uncertain edges.
    robot : Robot
    settings : StudySettings

    Yields
    ------
    Progress

    Returns
    -------
    CaseEffort
        The labels of the case are those of the prediction again.
    """
    listed = read_edges(prediction.edges_path)
    dice: dict[str, tuple[float, ...]] = {}
    with case.open_labels() as store:
        yield from store.merge(prediction)
        errors = read_labels(store) != robot.truth
        for guide in settings.guides:
            walks = yield from _walks(guide, case, prediction, listed.edges, settings)
            scores = [
                correct_step_by_step(store, robot, boxes, settings.regions)
                for boxes in walks
            ]
            dice[guide] = tuple(float(mean) for mean in np.mean(scores, axis=0))
    return CaseEffort(
        case=case.name,
        expected=listed.total_expected,
        wrong=int(errors.sum()),
        expected_in_edges=sum(edge.expected_wrong for edge in listed.edges),
        wrong_in_edges=_count_in(errors, [edge.box for edge in listed.edges]),
        edges=len(listed.edges),
        dice=dice,
    )


def correct_step_by_step(
    store: LabelStore, robot: Robot, boxes: Sequence[Box], counts: Sequence[int]
) -> list[float]:
    """Correct one box after the other, then undo all of it.

    Parameters
    ----------
    store : LabelStore
        Of a case in which nobody has corrected anything yet.
    robot : Robot
    boxes : sequence of Box
        Where to look, the most promising first.
    counts : sequence of int
        Rising.

    Returns
    -------
    list of float
        Mean Dice after each of `counts` corrections; where there are fewer boxes,
        nothing changes any more.
    """
    scores = []
    done = 0
    for count in counts:
        for box in boxes[done:count]:
            robot.correct(store, box)
        done = count
        scores.append(robot.dice(read_labels(store)))
    while store.undo() is not None:
        pass
    return scores


def _walks(
    guide: str,
    case: Case,
    prediction: CasePrediction,
    edges: Sequence[Edge],
    settings: StudySettings,
) -> Job[list[list[Box]]]:
    """Where a guide sends the robot; several times where it depends on chance."""
    boxes = [edge.box for edge in edges]
    if guide == ERROR_MAP:
        return [boxes]
    size = _size(boxes, case.geometry.spacing)
    if guide == ENTROPY:
        found = yield from entropy_boxes(prediction, size, settings.most)
        return [found]
    labels = read_predicted(prediction)
    return [
        random_boxes(
            labels, size, settings.most, seed=f"{settings.seed} {case.name} {repeat}"
        )
        for repeat in range(RANDOM_REPEATS)
    ]


def _size(boxes: Sequence[Box], spacing: Sequence[float]) -> Triple:
    """Voxels of the product's boxes in a case, before any is cut at its rim."""
    if not boxes:
        return box_size(spacing, _USUAL_EDGE)
    z, y, x = (max(hi - lo for lo, hi in sides) for sides in zip(*boxes, strict=True))
    return z, y, x


def _count_in(errors: NDArray[np.bool_], boxes: Sequence[Box]) -> int:
    """Errors in any of the boxes, each once."""
    seen = np.zeros(errors.shape, dtype=bool)
    for box in boxes:
        seen[box_slices(box)] = True
    return int(np.count_nonzero(errors & seen))
