"""A level of a volume as napari slices it: only what is shown is read, at once.

dask would make a task for each piece, read pieces of several planes for one, and do it
again for the part of the plane that is in view.
"""

import math
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.io.lazy import Oriented, pixels_behind
from e2miseg_core.project.keys import LazyVolume

__all__ = ["ShownLevel", "shown_level"]


def shown_level(level: da.Array, channel: int) -> "ShownLevel | da.Array":
    """One channel of a level (C, Z, Y, X), for a layer.

    A dask array where the level is computed from others.
    """
    pixels = pixels_behind(level)
    whole = level[channel]
    return whole if pixels is None else ShownLevel(pixels, channel, whole)


class ShownLevel(LazyVolume):
    """One channel of an image on disk, read box by box.

    Parameters
    ----------
    pixels : Oriented
        Shape (C, Z, Y, X), on canonical axes.
    channel : int
    whole : dask array, shape (Z, Y, X)
        The same voxels, for whoever computes with them: its methods are methods here.
    """

    def __init__(self, pixels: Oriented, channel: int, whole: da.Array) -> None:
        self._whole = whole
        self._pixels, self._channel = pixels.holding_chunks(), channel
        self.shape: tuple[int, int, int] = pixels.shape[1:]
        self.dtype = pixels.dtype
        self.size = math.prod(self.shape)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # no dask collection, for napari would make it one
            raise AttributeError(name)
        return getattr(self._whole, name)

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box.

        Raises
        ------
        ReadError
            If the file is damaged there.
        """
        return self._pixels[(self._channel, *box_slices(box))]

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        steps = [part.step for part in parts if isinstance(part, slice)]
        if all(step in (None, 1) for step in steps):
            return super().__getitem__(key)
        # A plane too large for a texture is shown by every n-th voxel of it.
        return np.asarray(self._pixels[(self._channel, *parts)])
