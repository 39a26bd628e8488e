"""Boxes of voxels: their arithmetic, and their places in arrays."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Box",
    "bounding_box",
    "box_from_json",
    "box_of_mask",
    "box_shape",
    "box_slices",
    "clip_box",
    "common_box",
    "grow_box",
    "hide_boxes",
    "make_box",
    "overlap",
    "pad_to_box",
    "slices_within",
    "whole_box",
]

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


def box_from_json(stored: Any) -> Box:
    """Restore a box that was stored as three pairs."""
    z, y, x = ((int(low), int(high)) for low, high in stored)
    return z, y, x


def box_shape(box: Box) -> tuple[int, int, int]:
    """Voxels along Z, Y, X."""
    z, y, x = (hi - lo for lo, hi in box)
    return z, y, x


def grow_box(box: Box, by: Sequence[int]) -> Box:
    """Move all sides of a box outwards, by so many voxels along Z, Y, X."""
    z, y, x = ((lo - n, hi + n) for (lo, hi), n in zip(box, by, strict=True))
    return z, y, x


def common_box(a: Box, b: Box) -> Box:
    """What two boxes share; where that is nothing, a side stops before it starts."""
    z, y, x = (
        (max(lo, first), min(hi, last))
        for (lo, hi), (first, last) in zip(a, b, strict=True)
    )
    return z, y, x


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share a voxel."""
    return all(lo < hi for lo, hi in common_box(a, b))


def bounding_box(boxes: Iterable[Box]) -> Box:
    """Smallest box around some boxes, of which there is at least one."""
    z, y, x = (
        (min(low for low, _ in axis), max(high for _, high in axis))
        for axis in zip(*boxes, strict=True)
    )
    return z, y, x


def box_of_mask(mask: NDArray[Any], frame: Box) -> Box | None:
    """Smallest box around what is not 0 in an array of `frame`; None if all is."""
    bounds = []
    for axis, (first, _) in enumerate(frame):
        others = tuple({0, 1, 2} - {axis})
        along = np.flatnonzero(mask.any(axis=others))
        if along.size == 0:
            return None
        bounds.append((first + int(along[0]), first + int(along[-1]) + 1))
    z, y, x = bounds
    return z, y, x


def box_slices(box: Box) -> tuple[slice, slice, slice]:
    """Slices along Z, Y, X."""
    z, y, x = (slice(*bounds) for bounds in box)
    return z, y, x


def slices_within(box: Box, frame: Box) -> tuple[slice, slice, slice]:
    """Where a box lies in an array of `frame`, a larger box around it."""
    z, y, x = (
        slice(lo - first, hi - first)
        for (lo, hi), (first, _) in zip(box, frame, strict=True)
    )
    return z, y, x


def hide_boxes(mask: NDArray[np.bool_], frame: Box, boxes: Iterable[Box]) -> None:
    """Clear what lies in any of `boxes` in a mask of `frame`."""
    for box in boxes:
        if overlap(box, frame):
            mask[slices_within(common_box(box, frame), frame)] = False


def pad_to_box(inside: NDArray[ScalarT], inner: Box, box: Box) -> NDArray[ScalarT]:
    """Surround what was read of `inner` with zeros, up to `box`.

    Parameters
    ----------
    inside : ndarray, shape (..., z, y, x)
        The voxels of `inner`.
    inner, box : Box
        `inner` is `box` cut to the volume.
    """
    padded = np.zeros((*inside.shape[:-3], *box_shape(box)), inside.dtype)
    if inside.size:
        padded[(..., *slices_within(inner, box))] = inside
    return padded
