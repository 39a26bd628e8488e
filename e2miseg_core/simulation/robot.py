"""The robot that annotates: it knows the truth and uses the tools of the product."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.errors import DatasetError
from e2miseg_core.evaluation import dice
from e2miseg_core.io import open_labels
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.project import CasePrediction, Edge, ReviewLog, Verdict
from e2miseg_core.project.label_store import LabelStore
from e2miseg_core.training.case_files import open_case
from e2miseg_core.training.dataset import Case as LabelledCase
from e2miseg_core.volume import Volume

__all__ = ["Robot", "open_labelled_case", "read_labels", "read_predicted"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Robot:
    """Corrects boxes of one case, without a mistake and without getting tired.

    Attributes
    ----------
    truth : ndarray of unsigned int, shape (Z, Y, X)
        The right label of each voxel.
    classes : tuple of LabelInfo
        That the Dice is taken of.
    """

    truth: NDArray[np.unsignedinteger]
    classes: tuple[LabelInfo, ...]

    def correct(self, store: LabelStore, box: Box) -> None:
        """Set a box to the truth."""
        store.set_truth(box, self.truth[box_slices(box)])

    def review(
        self, store: LabelStore, log: ReviewLog, edge: Edge, prediction: int
    ) -> Verdict:
        """Judge an uncertain edge as a person does, and correct it where it is wrong.

        Parameters
        ----------
        store : LabelStore
        log : ReviewLog
            Gets the verdict.
        edge : Edge
        prediction : int
            Its number.

        Returns
        -------
        Verdict
            "corrected", or "fine" where nothing was wrong.
        """
        where = box_slices(edge.box)
        verdict: Verdict = "corrected"
        if np.array_equal(np.asarray(store.levels[0][where]), self.truth[where]):
            verdict = "fine"
            store.accept(edge.box)
        else:
            self.correct(store, edge.box)
        log.append(edge, verdict, prediction=prediction)
        return verdict

    def dice(self, labels: NDArray[np.unsignedinteger]) -> float:
        """Mean over the classes of the Dice of labels (Z, Y, X) with the truth.

        A class that is absent from both counts as 1.
        """
        scores = [
            dice(labels == label.value, self.truth == label.value)
            for label in self.classes
        ]
        return sum(scores) / len(scores)


def open_labelled_case(
    case: LabelledCase, classes: tuple[LabelInfo, ...]
) -> tuple[Volume, Robot]:
    """Open a case of a data set: its image, lazy, and a robot that knows its labels.

    Parameters
    ----------
    case : LabelledCase
        Of the data set.
    classes : tuple of LabelInfo
        What labels may say.

    Raises
    ------
    DatasetError
        If image and labels lie on different grids, or a label is none of `classes`.
    """
    image, labels = open_case(case)
    truth = np.asarray(labels.data[0].compute())
    known = {0, *(label.value for label in classes)}
    strange = sorted({int(value) for value in np.unique(truth)} - known)
    if strange:
        raise DatasetError(
            found=f"the label {strange[0]} in {case.labels}",
            needed="one of " + ", ".join(str(value) for value in sorted(known)),
            do="choose a model that was made for these labels",
        )
    kind = np.min_scalar_type(max(known))
    return image, Robot(truth=truth.astype(kind), classes=classes)


def read_labels(store: LabelStore) -> NDArray[np.unsignedinteger]:
    """Read the labels of a case as they stand now, (Z, Y, X)."""
    return np.asarray(store.levels[0][:, :, :])


def read_predicted(prediction: CasePrediction) -> NDArray[np.unsignedinteger]:
    """Read the labels of a prediction, (Z, Y, X)."""
    return np.asarray(open_labels(prediction.labels).data[0].compute())
