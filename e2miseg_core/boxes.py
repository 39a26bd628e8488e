"""Boxes of voxels, and reading them where they reach beyond a volume."""

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "box_slices", "clip_box", "make_box", "pad_to_box", "whole_box"]

# (start, stop) along Z, Y, X; may reach outside the volume.
Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
ScalarT = TypeVar("ScalarT", bound=np.generic)


def make_box(start: Sequence[int], size: Sequence[int]) -> Box:
    """Make the box that begins at `start` and has `size` voxels along Z, Y, X."""
    z, y, x = ((s, s + n) for s, n in zip(start, size, strict=True))
    return z, y, x


def whole_box(shape: Sequence[int]) -> Box:
    """Make the box of a whole volume."""
    return make_box((0, 0, 0), shape)


def clip_box(box: Box, shape: Sequence[int]) -> Box:
    """Cut a box to the volume; a side without any voxel inside becomes empty."""
    z, y, x = (
        (min(max(lo, 0), n), max(0, min(hi, n)))
        for (lo, hi), n in zip(box, shape, strict=True)
    )
    return z, y, x


def box_slices(box: Box) -> tuple[slice, slice, slice]:
    """Slices along Z, Y, X."""
    z, y, x = (slice(*bounds) for bounds in box)
    return z, y, x


def pad_to_box(inside: NDArray[ScalarT], inner: Box, box: Box) -> NDArray[ScalarT]:
    """Surround what was read of `inner` with zeros, up to `box`.

    Parameters
    ----------
    inside : ndarray, shape (..., z, y, x)
        The voxels of `inner`.
    inner, box : Box
        `inner` is `box` cut to the volume.
    """
    size = [hi - lo for lo, hi in box]
    padded = np.zeros((*inside.shape[:-3], *size), inside.dtype)
    if inside.size:
        z, y, x = (
            slice(a - lo, b - lo) for (lo, _), (a, b) in zip(box, inner, strict=True)
        )
        padded[..., z, y, x] = inside
    return padded
