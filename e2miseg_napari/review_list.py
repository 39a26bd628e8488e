"""The list of uncertain edges of a case, read from its project."""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path

from e2miseg_core.boxes import Box
from e2miseg_core.project import Case, CasePrediction, Verdict, read_edges
from e2miseg_napari.review_queue import ReviewQueue, boxes_as_edges

__all__ = ["ReviewList", "Stage", "find_list", "read_list"]


class Stage(Enum):
    """What there is to review."""

    NO_CASE = auto()
    NO_IMAGE = auto()  # the case's image is gone
    NO_PREDICTION = auto()
    NOT_RANKED = auto()  # predicted, but nobody has looked for its edges
    READY = auto()  # there is a list, which may be empty


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewList:
    """Edges of one prediction with their verdicts.

    Attributes
    ----------
    stage : Stage
    case : Case or None
    prediction : CasePrediction or None
        Merged in the case; None where there is no list.
    queue : ReviewQueue
    """

    stage: Stage = Stage.NO_CASE
    case: Case | None = None
    prediction: CasePrediction | None = None
    queue: ReviewQueue = field(default_factory=ReviewQueue)

    @property
    def of(self) -> tuple[Path, int] | None:
        """Which case and which prediction; None where there is no list."""
        if self.case is None or self.prediction is None:
            return None
        return self.case.folder, self.prediction.number


def find_list(case: Case | None, *, has_image: bool) -> ReviewList:
    """Find what there is to review in a case; `read_list` fills it.

    Raises
    ------
    ReadError
        If the case is damaged.
    """
    if case is None:
        return ReviewList()
    if not has_image:
        return ReviewList(stage=Stage.NO_IMAGE, case=case)
    prediction = case.merged
    if prediction is None:
        return ReviewList(stage=Stage.NO_PREDICTION, case=case)
    return ReviewList(stage=Stage.NOT_RANKED, case=case, prediction=prediction)


def read_list(
    found: ReviewList, before: ReviewList, unwritten: dict[Box, Verdict]
) -> ReviewList:
    """Fill a list where somebody has looked for the edges.

    Parameters
    ----------
    found : ReviewList
        By `find_list`.
    before : ReviewList
        On show until now: what is done of the same prediction is kept.
    unwritten : dict of Box to str
        Verdicts that may not be on the disk yet.

    Raises
    ------
    ReadError
        If list or log is damaged.
    """
    case, prediction = found.case, found.prediction
    if case is None or prediction is None or not prediction.edges_path.exists():
        return found
    verdicts = {
        box: verdict
        for (number, box), verdict in case.review().latest().items()
        if number == prediction.number
    } | unwritten
    earlier = list(before.queue.entries) if before.of == found.of else []
    known = {one.edge.box for one in earlier}
    lost = {box: verdicts[box] for box in verdicts if box not in known}
    edges = read_edges(prediction.edges_path)
    queue = ReviewQueue(edges, verdicts, [*earlier, *boxes_as_edges(lost)])
    return replace(found, stage=Stage.READY, queue=queue)
