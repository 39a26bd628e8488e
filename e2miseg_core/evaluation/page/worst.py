"""The cases to look at first, and their pictures."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from e2miseg_core.errors import E2MISegError
from e2miseg_core.evaluation.page.pictures import CasePicture, draw_case
from e2miseg_core.evaluation.pairing import check_grids
from e2miseg_core.evaluation.report import Report
from e2miseg_core.evaluation.scores import CaseScores
from e2miseg_core.evaluation.structures import LabelKey, Structure, values_of
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.io.address import Address
from e2miseg_core.progress import Job, Progress

__all__ = [
    "MOST_PICTURES",
    "WorstPictures",
    "draw_worst",
    "structures_of",
    "worst_cases",
]

MOST_PICTURES = 8


class WorstPictures:
    """Pictures of the worst cases so far, for cases whose arrays do not stay.

    Parameters
    ----------
    most : int
    """

    def __init__(self, most: int = MOST_PICTURES) -> None:
        self._most = most
        self._kept: list[tuple[float, CasePicture]] = []

    def offer(self, mean_dice: float, draw: Callable[[], CasePicture]) -> None:
        """Draw a case if it is among the worst so far, and forget the best of them."""
        kept = self._kept
        if len(kept) == self._most and mean_dice >= kept[-1][0]:
            return
        kept.append((mean_dice, draw()))
        kept.sort(key=lambda one: one[0])
        del kept[self._most :]

    @property
    def pictures(self) -> list[CasePicture]:
        """What was kept, worst first."""
        return [picture for _, picture in self._kept]


def worst_cases(report: Report, most: int = MOST_PICTURES) -> list[CaseScores]:
    """Cases by their mean Dice over the structures, worst first."""
    means = report.case_means("dice")
    order = sorted(
        range(len(means)),
        key=lambda i: (math.inf if math.isnan(means[i]) else means[i], i),
    )
    return [report.cases[i] for i in order[:most]]


def structures_of(report: Report) -> dict[LabelKey, Structure]:
    """The structures of a report, by key."""
    return {
        key: Structure(name=name, values=values_of(key))
        for key, name in report.label_names.items()
    }


def draw_worst(
    report: Report,
    images: Mapping[str, Address] | None = None,
    most: int = MOST_PICTURES,
) -> Job[list[CasePicture]]:
    """Draw the worst cases of a report from the files it names.

    Parameters
    ----------
    report : Report
    images : mapping of str to Address, optional
        By case; a case that is missing here is drawn without.
    most : int

    Returns
    -------
    list of CasePicture
        Worst first; of a file that has since become unreadable, a note.
    """
    pictures = []
    chosen = worst_cases(report, most)
    for done, case in enumerate(chosen, start=1):
        try:
            pictures.append(_draw(report, case, images or {}))
        except E2MISegError as error:
            note = f"not drawn: {error}"
            pictures.append(CasePicture(case=case.case, html="", note=note))
        yield Progress(done=done, total=len(chosen), stage="drawing")
    return pictures


def _draw(
    report: Report, case: CaseScores, images: Mapping[str, Address]
) -> CasePicture:
    volumes = [open_labels(path) for path in (case.predicted, case.reference)]
    geometry = volumes[1].geometry
    labels = [np.asarray(volume.data[0].compute()) for volume in volumes]
    image, note = None, ""
    if case.case in images:
        try:
            opened = open_volume(images[case.case])
            reference = Address.parse(case.reference)
            check_grids(images[case.case], opened.geometry, reference, geometry)
            image = opened.data[0]
        except E2MISegError as error:
            note = f"without its image: {error}"
    elif images:
        note = "no image of this name"
    return draw_case(
        case.case,
        (labels[0], labels[1]),
        structures_of(report),
        geometry.in_unit("mm").spacing,
        image,
        note=note,
    )
