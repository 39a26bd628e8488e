"""What a running prediction has found so far, put over what a case's layers show.

Adding layers to a window and taking them away stalls it far longer than a new picture
in layers that are there. So the layers of the case show the growing result themselves;
their data stay as they are until it is complete.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import block_reduce

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.project import MACHINE

__all__ = ["MOST_VOXELS", "Preview"]

MOST_VOXELS = 1 << 24  # of the finest level; more would be slow to read for one picture


class Preview:
    """Parts of a prediction that are final, read where a human has not spoken.

    Parameters
    ----------
    labels, error_map : zarr.Array, shape (Z, Y, X)
        Stores that the worker fills.
    """

    def __init__(self, labels: Any, error_map: Any) -> None:
        self._labels, self._errors = labels, error_map
        self._final: list[Box] = []

    def add(self, box: Box) -> None:
        """Take note of voxels that are final."""
        self._final.append(box)

    def draw_labels(
        self, shown: NDArray[Any], box: Box, *, level: int, authority: Any
    ) -> None:
        """Put the labels found so far over those of a box.

        Views of more than `MOST_VOXELS` voxels stay as they are.

        Parameters
        ----------
        shown : ndarray, shape of the box
            Is changed.
        box : Box
            In voxels of the level.
        level : int
            Of the pyramid: a voxel stands for ``2 ** level`` voxels along each axis,
            and shows the first of them.
        authority : CachedVolume
            Of the case, at the finest level.
        """
        step = 2**level
        size = authority.shape
        for low, high in self._parts(box, step):
            block = [
                (a * step, min(b * step, n))
                for a, b, n in zip(low, high, size, strict=True)
            ]
            if math.prod(b - a for a, b in block) > MOST_VOXELS:
                continue
            fine = box_slices((block[0], block[1], block[2]))
            spoken = np.asarray(authority[fine]) != MACHINE
            spoken = block_reduce(spoken, (step,) * 3, np.max)
            found = self._labels[tuple(slice(s.start, s.stop, step) for s in fine)]
            where = _inside(low, high, box)
            np.copyto(shown[where], found, where=~spoken)

    def draw_errors(self, shown: NDArray[Any], box: Box) -> None:
        """Put the chances of error found so far over those of a box."""
        for low, high in self._parts(box, 1):
            fine = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            shown[_inside(low, high, box)] = self._errors[fine]

    def _parts(self, box: Box, step: int) -> Iterator[tuple[list[int], list[int]]]:
        """Bounds of what is final in a box, in its own voxels."""
        for final in list(self._final):
            low = [
                max(a, -(-f // step)) for (a, _), (f, _) in zip(box, final, strict=True)
            ]
            high = [
                min(b, -(-f // step)) for (_, b), (_, f) in zip(box, final, strict=True)
            ]
            if all(a < b for a, b in zip(low, high, strict=True)):
                yield low, high


def _inside(low: list[int], high: list[int], box: Box) -> tuple[slice, ...]:
    bounds = zip(low, high, box, strict=True)
    return tuple(slice(a - first, b - first) for a, b, (first, _) in bounds)
