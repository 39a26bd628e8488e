"""Numpy's basic indexing of a volume that is read box by box."""

import math
import operator
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, make_box, whole_box

__all__ = ["LazyBox", "LazyVolume", "basic_box"]


class LazyVolume(ABC):
    """A volume that gives boxes, as what NumPy and napari need of an array.

    Attributes
    ----------
    shape : tuple of int
        Voxels along Z, Y, X.
    dtype : dtype
        Of the voxels.
    """

    ndim = 3
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box inside the volume."""

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = self.read(whole_box(self.shape))
        return values.astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        """Answer a key: lazily where it is basic, else with an array of voxels."""
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, np.ndarray | list) for part in parts):
            return _picked(self, parts)
        box, dropped = basic_box(key, self.shape)
        lazy = LazyBox(self, box, dropped)
        return np.asarray(lazy)[()] if lazy.ndim == 0 else lazy


def basic_box(key: Any, shape: tuple[int, int, int]) -> tuple[Box, tuple[int, ...]]:
    """Turn a key of integers and slices of step 1 into a box.

    Parameters
    ----------
    key : int, slice, Ellipsis or tuple of them
    shape : tuple of int
        Of the volume.

    Returns
    -------
    tuple
        The box, and the axes that the key drops since it has an integer there.

    Raises
    ------
    IndexError
        If an integer lies outside, there are too many parts, or one is of another
        kind.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is Ellipsis for part in parts):
        where = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[where : where + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    if len(parts) > len(shape):
        msg = f"{len(parts)} indices for {len(shape)} axes"
        raise IndexError(msg)
    parts += [slice(None)] * (len(shape) - len(parts))
    bounds = [_bounds(p, size) for p, size in zip(parts, shape, strict=True)]
    start = [low for low, _ in bounds]
    dropped = tuple(d for d, part in enumerate(parts) if not isinstance(part, slice))
    return make_box(start, [high - low for low, high in bounds]), dropped


def _bounds(part: Any, size: int) -> tuple[int, int]:
    if isinstance(part, slice):
        low, high, step = part.indices(size)
        if step != 1:
            msg = f"a step of {step}; only 1 is possible"
            raise IndexError(msg)
        return low, max(low, high)
    try:
        index = operator.index(part)
    except TypeError as error:
        msg = f"an index of type {type(part).__name__}"
        raise IndexError(msg) from error
    index += size if index < 0 else 0
    if not 0 <= index < size:
        msg = f"index {part} outside of an axis of {size}"
        raise IndexError(msg)
    return index, index + 1


def _picked(volume: LazyVolume, parts: tuple[Any, ...]) -> NDArray[Any]:
    """Voxels at lists of indices, one list an axis: only the box around them is read.

    Other mixtures are left to numpy, with the whole volume in memory.
    """
    lists = [np.asarray(part) for part in parts if not isinstance(part, slice)]
    whole = [part.dtype.kind in "iu" and bool((part >= 0).all()) for part in lists]
    if len(lists) != 3 or not all(whole) or not all(part.size for part in lists):
        everything: NDArray[Any] = volume.read(whole_box(volume.shape))[parts]
        return everything
    start = [int(part.min()) for part in lists]
    size = [int(part.max()) + 1 - low for part, low in zip(lists, start, strict=True)]
    box = volume.read(make_box(start, size))
    picked: NDArray[Any] = box[
        tuple(part - low for part, low in zip(lists, start, strict=True))
    ]
    return picked


class LazyBox:
    """A box of a volume that is read when an array is asked for.

    Viewers slice a level twice, first the tile and then the plane; only what the second
    leaves is read.
    """

    def __init__(
        self, volume: LazyVolume, box: Box, dropped: tuple[int, ...] = ()
    ) -> None:
        self._volume, self._box, self._dropped = volume, box, dropped
        self._axes = [axis for axis in range(3) if axis not in dropped]
        self.dtype = volume.dtype
        self.shape = tuple(box[axis][1] - box[axis][0] for axis in self._axes)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = self._volume.read(self._box).squeeze(self._dropped)
        return values.astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        """Narrow the box; for any key but a basic one, answer with an array."""
        parts = key if isinstance(key, tuple) else (key,)
        steps = (part.step for part in parts if isinstance(part, slice))
        basic = all(isinstance(part, int | np.integer | slice) for part in parts)
        if not basic or any(step not in (None, 1) for step in steps):
            return np.asarray(self)[key]
        box, dropped = list(self._box), list(self._dropped)
        for axis, part in zip(self._axes, parts, strict=False):
            first = box[axis][0]
            low, high = _bounds(part, box[axis][1] - first)
            box[axis] = (first + low, first + high)
            if not isinstance(part, slice):
                dropped.append(axis)
        narrowed = LazyBox(
            self._volume, (box[0], box[1], box[2]), tuple(sorted(dropped))
        )
        return np.asarray(narrowed)[()] if narrowed.ndim == 0 else narrowed
