"""One change of voxels: what every edit, undo and redo comes down to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    bounding_box,
    box_of_mask,
    box_shape,
    slices_within,
)

__all__ = ["Change", "combine"]

_LARGEST = 32 << 20  # voxels of a box in which changes are put together


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """New labels and authority for some voxels of a box.

    Attributes
    ----------
    box : Box
        Inside the volume.
    mask : ndarray of bool, shape of the box
        The n voxels meant.
    labels : ndarray, shape (n,)
        Their labels, in C order of the mask.
    authority : ndarray of uint8, shape (n,)
        Who says so.
    """

    box: Box
    mask: NDArray[np.bool_]
    labels: NDArray[Any]
    authority: NDArray[np.uint8]

    @classmethod
    def crop(
        cls,
        box: Box,
        mask: NDArray[np.bool_],
        labels: NDArray[Any],
        authority: int,
    ) -> Self:
        """Make the change of the voxels of a mask, in the smallest box.

        Parameters
        ----------
        box : Box
        mask : ndarray of bool, shape of the box
            At least one voxel.
        labels : ndarray, shape of the box
        authority : int
            Of all of them.
        """
        inner = box_of_mask(mask, box)
        if inner is None:
            msg = "a change of no voxel"
            raise ValueError(msg)
        inside = slices_within(inner, box)
        mask = mask[inside].copy()
        picked = labels[inside][mask]
        return cls(
            box=inner,
            mask=mask,
            labels=picked,
            authority=np.full(len(picked), authority, np.uint8),
        )

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Give values (n,) their places in the box; the others are 0."""
        full = np.zeros(self.mask.shape, values.dtype)
        full[self.mask] = values
        return full


def combine(changes: Sequence[Change]) -> list[Change]:
    """Put changes that follow one another into as few as reasonable.

    Parameters
    ----------
    changes : sequence of Change
        In the order in which they apply.

    Returns
    -------
    list of Change
        With the same outcome.
    """
    if len(changes) < 2:
        return list(changes)
    box = bounding_box(change.box for change in changes)
    size = box_shape(box)
    if np.prod(size, dtype=np.int64) > _LARGEST:
        return list(changes)
    mask = np.zeros(size, bool)
    labels = np.zeros(size, changes[0].labels.dtype)
    authority = np.zeros(size, np.uint8)
    for change in changes:
        inside = slices_within(change.box, box)
        mask[inside] |= change.mask
        labels[inside][change.mask] = change.labels
        authority[inside][change.mask] = change.authority
    return [Change(box=box, mask=mask, labels=labels[mask], authority=authority[mask])]
