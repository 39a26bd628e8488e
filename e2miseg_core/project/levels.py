"""Coarser levels of labels: each voxel stands for a block of 2 x 2 x 2."""

from collections.abc import Sequence

__all__ = ["count_levels"]

COARSEST = 256  # voxels along the longest axis of the coarsest level, at most
_MOST = 7  # a chunk of 64 voxels is one voxel at the last of them


def count_levels(shape: Sequence[int]) -> int:
    """Levels that labels of a shape need, the finest included."""
    longest, count = max(shape), 1
    while longest > COARSEST and count < _MOST:
        longest, count = (longest + 1) // 2, count + 1
    return count
