"""The chunks of a zarr array on the disk: read in rows, written one by one."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    bounding_box,
    box_shape,
    box_slices,
    slices_within,
)
from e2miseg_core.chunks import Index, chunk_box, compact, rows_of
from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import writing_to

__all__ = ["ChunkFiles"]

_FAULTS = (OSError, ValueError, KeyError, TypeError, RuntimeError)


class ChunkFiles:
    """A 3D zarr array (Z, Y, X) of whole numbers, chunk by chunk.

    Parameters
    ----------
    path : Path
        Of the array.
    writable : bool
        Whether chunks may be written.

    Raises
    ------
    ReadError
        If there is no such array.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._array = _open(path, writable=writable)
        z, y, x = (int(size) for size in self._array.shape)
        self.shape = (z, y, x)
        self.chunks: tuple[int, ...] = tuple(self._array.chunks)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        self.size = math.prod(self.shape)

    def box(self, index: Index) -> Box:
        """Voxels of a chunk."""
        return chunk_box(index, self.chunks, self.shape)

    def read(self, wanted: list[Index]) -> dict[Index, NDArray[Any]]:
        """Read chunks; one of a single value takes no memory, and is read-only.

        Raises
        ------
        ReadError
            If one is damaged.
        """
        chunks: dict[Index, NDArray[Any]] = {}
        for row in rows_of(wanted):
            if self._file(row[0]).parent.is_dir():
                chunks.update(self._read_row(row))
            else:  # nothing was ever written there: zarr would look for each file
                empty = np.asarray(self._array.fill_value, self.dtype)
                for index in row:
                    size = box_shape(self.box(index))
                    chunks[index] = np.broadcast_to(empty, size)
        return chunks

    def write(
        self, index: Index, chunk: NDArray[Any], *, precious: Callable[[], bool]
    ) -> None:
        """Write a chunk whole, or leave the one that is there.

        Parameters
        ----------
        index : tuple of int
        chunk : ndarray, shape of the chunk
        precious : callable
            Asked after it is written whether it must survive a loss of power.

        Raises
        ------
        WriteError
            If the system refuses.
        """
        with writing_to(self.path):
            self._array[box_slices(self.box(index))] = chunk
            if precious():
                self._sync(index)

    def _read_row(self, row: list[Index]) -> dict[Index, NDArray[Any]]:
        """Read neighbouring chunks along X."""
        box = bounding_box(self.box(index) for index in row)
        try:
            block = np.asarray(self._array[box_slices(box)])
        except _FAULTS as error:
            raise ReadError(
                found=f"{self.path} is damaged ({error})",
                needed="the chunks as they were written",
                do="copy them from a backup",
            ) from error
        return {
            index: compact(block[slices_within(self.box(index), box)]) for index in row
        }

    def _file(self, index: Index) -> Path:
        """Where a chunk is, if it is not all zeros."""
        return self.path / self._array.metadata.encode_chunk_key(index)

    def _sync(self, index: Index) -> None:
        """Have the file of a chunk, if there is one, survive a loss of power."""
        file = self._file(index)
        if file.exists():  # a chunk of zeros has none
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def _open(path: Path, *, writable: bool) -> "zarr.Array[Any]":
    try:
        array = zarr.open_array(str(path), mode="r+" if writable else "r")
    except _FAULTS as error:
        raise ReadError(
            found=f"{path} is missing or damaged ({error})",
            needed="a zarr array",
            do="copy it from a backup",
        ) from error
    if array.ndim != 3 or array.dtype.kind not in "bu":
        raise ReadError(
            found=f"{path} holds {array.dtype} along {array.ndim} axes",
            needed="whole numbers along Z, Y, X",
            do="choose another store",
        )
    return array
