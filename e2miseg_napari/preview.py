"""What a case's first prediction has found so far, put over what its layers show.

Adding layers to a window and taking them away stalls it far longer than a new picture
in layers that are there. So the layers of the case show the growing result themselves.
Only what is drawn is changed: whoever reads a layer's data gets the project's labels.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    box_shape,
    box_slices,
    common_box,
    overlap,
    slices_within,
)
from e2miseg_core.project import MACHINE
from e2miseg_core.project.keys import LazyVolume

__all__ = ["MOST_VOXELS", "Preview", "PreviewedLevel"]

MOST_VOXELS = 1 << 24  # more would be slow to read for one picture


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

        Views that more than `MOST_VOXELS` voxels would have to be read for stay as they
        are.

        Parameters
        ----------
        shown : ndarray, shape of the box
            The project's labels, where the machine has said nothing yet; is changed.
        box : Box
            In voxels of the level.
        level : int
            Of the pyramid: a voxel stands for ``2 ** level`` voxels along each axis,
            and shows the first of them.
        authority : CachedVolume
            Of the case, at the finest level.
        """
        step = 2**level
        if math.prod(n * step if n > 1 else 1 for n in box_shape(box)) > MOST_VOXELS:
            return
        for part in self._parts(box, step):
            fine = tuple(slice(a * step, (b - 1) * step + 1, step) for a, b in part)
            where = slices_within(part, box)
            if level:  # what a human drew; their background shows up close only
                free = shown[where] == 0
            else:
                free = np.asarray(authority[box_slices(part)]) == MACHINE
            np.copyto(shown[where], self._labels[fine], where=free)

    def draw_errors(self, shown: NDArray[Any], box: Box) -> None:
        """Put the chances of error found so far over those of a box."""
        if shown.size > MOST_VOXELS:
            return
        for part in self._parts(box, 1):
            shown[slices_within(part, box)] = self._errors[box_slices(part)]

    def _parts(self, box: Box, step: int) -> Iterator[Box]:
        """What is final in a box of a level, in its own voxels."""
        for final in list(self._final):
            z, y, x = ((-(-low // step), -(-high // step)) for low, high in final)
            if overlap(box, (z, y, x)):
                yield common_box(box, (z, y, x))


class PreviewedLevel(LazyVolume):
    """A level of a case's labels with a preview over it, for slicing.

    Parameters
    ----------
    volume : CachedVolume
        The level.
    preview : Preview
    level : int
        0 is the finest.
    authority : CachedVolume
    """

    def __init__(
        self, volume: Any, preview: Preview, *, level: int, authority: Any
    ) -> None:
        self._volume, self._preview = volume, preview
        self._level, self._authority = level, authority
        self.shape, self.dtype = volume.shape, volume.dtype

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box inside the volume."""
        part: NDArray[Any] = self._volume.read(box)
        self._preview.draw_labels(
            part, box, level=self._level, authority=self._authority
        )
        return part
