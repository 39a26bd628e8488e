"""Coarser levels of labels: each voxel stands for a block of 2 x 2 x 2.

Every coarse voxel has the label of some voxel of its block. After an edit it is an
edited one, so that a stroke on any single plane shows at all zooms; after a merge it
is the most frequent one, voxels of a human first.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box
from e2miseg_core.downsample import COARSEST, most_frequent

__all__ = ["coarse_box", "condense", "count_levels", "shrink_edit"]

_MOST = 7  # a chunk of 64 voxels is one voxel at the last of them
_HUMAN_WEIGHT = 16  # beyond any number of machine's voxels in a block

_OFFSETS = tuple(itertools.product((0, 1), repeat=3))


def count_levels(shape: Sequence[int]) -> int:
    """Levels that labels of a shape need, the finest included."""
    longest, count = max(shape), 1
    while longest > COARSEST and count < _MOST:
        longest, count = (longest + 1) // 2, count + 1
    return count


def coarse_box(box: Box) -> Box:
    """Blocks, as voxels of the next level, that a box touches."""
    z, y, x = ((low // 2, (high + 1) // 2) for low, high in box)
    return z, y, x


def shrink_edit(
    box: Box, mask: NDArray[np.bool_], labels: NDArray[Any]
) -> tuple[Box, NDArray[np.bool_], NDArray[Any]]:
    """Bring an edit to the next level.

    Parameters
    ----------
    box : Box
        Of the edit.
    mask : ndarray of bool, shape of the box
        Voxels that were edited.
    labels : ndarray, shape of the box
        Their labels; elsewhere anything.

    Returns
    -------
    tuple
        The same at the next level: blocks with an edited voxel, and its label.
    """
    pad = [(low % 2, high % 2) for low, high in box]
    mask, labels = np.pad(mask, pad), np.pad(labels, pad)
    blocks = zip(_blocks(mask), _blocks(labels), strict=True)
    edited, chosen = next(blocks)
    edited, chosen = edited.copy(), chosen.copy()
    for also, values in blocks:
        np.copyto(chosen, values, where=also & ~edited)
        edited |= also
    return coarse_box(box), edited, chosen


def condense(
    labels: NDArray[Any], human: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Make the next level of labels that begin at an even voxel.

    Parameters
    ----------
    labels : ndarray, shape (z, y, x)
    human : ndarray of bool, same shape
        Voxels that a human spoke for: one of them decides for its block.

    Returns
    -------
    tuple of ndarray
        The most frequent label of each block, the larger one of two equally frequent;
        and whether a human spoke for a voxel of the block.
    """
    pad = [(0, size % 2) for size in human.shape]
    spoken = np.logical_or.reduce(list(_blocks(np.pad(human, pad, mode="edge"))))
    weights = 1 + _HUMAN_WEIGHT * human.astype(np.uint8)
    return most_frequent(labels, (2, 2, 2), weights), spoken


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of the eight voxels of each block, in the same order always."""
    for z, y, x in _OFFSETS:
        yield array[z::2, y::2, x::2]
