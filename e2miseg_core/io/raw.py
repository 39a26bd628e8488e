"""Voxels that lie in a file one after another, as NIfTI, NRRD and MetaImage have it."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.lazy import Box

__all__ = ["RawLayout", "RawPixels"]


@dataclass(frozen=True, kw_only=True)
class RawLayout:
    """Where and how the voxels of a file lie.

    Attributes
    ----------
    path : Path
        The file that holds them.
    offset : int
        Bytes before the first voxel, or before the compressed stream.
    shape : tuple of int
        (C, Z, Y, X), X fastest.
    dtype : numpy.dtype
        As stored, byte order included.
    channels_last : bool
        Whether the channels of a voxel lie beside each other.
    compression : str
        "", "gzip", "zlib" or "bz2".
    slope, intercept : float
        Values are stored divided and shifted by them; read as float32 where they
        are not 1 and 0.
    """

    path: Path
    offset: int
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    channels_last: bool = False
    compression: str = ""
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_scaled(self) -> bool:
        """Whether values are stored divided by a slope, or shifted."""
        return (self.slope, self.intercept) != (1.0, 0.0)


class RawPixels:
    """A `DiskArray`: scaled and in native byte order when read."""

    def __init__(self, layout: RawLayout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._map: Any = None
        self.shape = layout.shape
        native = layout.dtype.newbyteorder("=")
        self.dtype = np.dtype(np.float32) if layout.is_scaled else native

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled with its voxels, a lock not at all.
        return {**self.__dict__, "_map": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        layout = self._layout
        try:
            stored = np.array(self._stored()[box])
        except (OSError, ValueError) as error:
            raise ReadError(
                found=f"{layout.path} is damaged or cut off ({error})",
                needed="a whole file",
                do="copy or export the file again",
            ) from error
        if layout.is_scaled:
            scaled = stored.astype(np.float64) * layout.slope
            return (scaled + layout.intercept).astype(np.float32)
        return stored.astype(self.dtype, copy=False)

    def _stored(self) -> NDArray[Any]:
        layout = self._layout
        with self._lock:
            if self._map is None:
                channels, *grid = layout.shape
                shape = (*grid, channels) if layout.channels_last else layout.shape
                stored = np.memmap(
                    layout.path, layout.dtype, "r", offset=layout.offset, shape=shape
                )
                self._map = (
                    np.moveaxis(stored, -1, 0) if layout.channels_last else stored
                )
            view: NDArray[Any] = self._map
        return view
