"""What has become of the voxels of a box: who vouches for them, who painted there."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.project import HUMAN, MACHINE, LabelStore

__all__ = ["BoxWatch", "is_vouched_for"]


class BoxWatch:
    """Notices when a human paints in a box.

    Parameters
    ----------
    store : LabelStore
        Labels of the case.
    box : Box
        Compared with how it is now.
    """

    def __init__(self, store: LabelStore, box: Box) -> None:
        self._store, self._box = store, box
        self._labels, self._authority = self._read()

    def is_painted(self) -> bool:
        """Tell whether a human has set other labels, or set some for the first time."""
        labels, authority = self._read()
        new = (self._authority != HUMAN) | (self._labels != labels)
        return bool(((authority == HUMAN) & new).any())

    def _read(self) -> tuple[NDArray[Any], NDArray[Any]]:
        where = box_slices(self._box)
        store = self._store
        return np.array(store.levels[0][where]), np.array(store.authority[where])


def is_vouched_for(store: LabelStore, box: Box) -> bool:
    """Tell whether a human drew or accepted all voxels of a box."""
    return bool((np.asarray(store.authority[box_slices(box)]) != MACHINE).all())
