"""What has become of the voxels of a box: who vouches for them, who painted there."""

from collections.abc import Sequence
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.errors import E2MISegError
from e2miseg_core.project import (
    HUMAN,
    MACHINE,
    CachedVolume,
    CasePrediction,
    LabelStore,
)

__all__ = ["BoxWatch", "class_to_paint", "is_corrected", "is_vouched_for"]


class BoxWatch:
    """Notices when a human paints in a box.

    Parameters
    ----------
    store : LabelStore
        Labels of the case.
    box : Box
        Compared with how it is now.

    Attributes
    ----------
    labels : ndarray, shape of the box
        As they were at first.
    """

    def __init__(self, store: LabelStore, box: Box) -> None:
        self._store, self._box = store, box
        self.labels, self._authority = self._read()

    def is_painted(self) -> bool:
        """Tell whether a human has set other labels, or set some for the first time."""
        labels, authority = self._read()
        new = (self._authority != HUMAN) | (self.labels != labels)
        return bool(((authority == HUMAN) & new).any())

    def _read(self) -> tuple[NDArray[Any], NDArray[Any]]:
        where = box_slices(self._box)
        store = self._store
        return np.array(store.levels[0][where]), np.array(store.authority[where])


def is_vouched_for(store: LabelStore, box: Box) -> bool:
    """Tell whether a human drew or accepted all voxels of a box."""
    return bool((np.asarray(store.authority[box_slices(box)]) != MACHINE).all())


def is_corrected(store: LabelStore, prediction: CasePrediction, box: Box) -> bool:
    """Tell whether a human drew anything else in a box than a prediction says.

    On disk already or not yet. Where the prediction cannot be read, all that was drawn
    counts.
    """
    where = box_slices(box)
    drawn = np.asarray(store.authority[where]) == HUMAN
    if not drawn.any():
        return False
    try:
        predicted = CachedVolume(prediction.labels / "0", lock=RLock())
        other = np.asarray(store.levels[0][where]) != np.asarray(predicted[where])
    except (E2MISegError, OSError):
        return True
    return bool((drawn & other).any())


def class_to_paint(labels: NDArray[Any], classes: Sequence[int], chosen: int) -> int:
    """Class to paint an edge with: the one chosen, if it is one that meets there.

    Parameters
    ----------
    labels : ndarray of int
        In the box of the edge.
    classes : sequence of int
        That meet there, as expected when the edge was found.
    chosen : int
        Class to paint with until now.

    Returns
    -------
    int
        Else the object that fills most of the box; `chosen` where no object is.
    """
    objects = [value for value in classes if value]
    if chosen in classes or not objects:
        return chosen
    return max(objects, key=lambda value: int((labels == value).sum()))
