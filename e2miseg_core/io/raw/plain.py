"""Voxels that lie plain in a file: read when they are asked for, never mapped.

Where a mapped file is cut off or its disk fails, the system kills the process. So only
what is asked for is read, from a file that is open no longer than that: a box in runs
of bytes, where small gaps are read along and passed over in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.raw.unchanged import Stamp, fill, opened

__all__ = ["PlainArray"]

_GAP_BYTES = 32 << 10  # a smaller gap is read along: cheaper than one more call
_PIECE_BYTES = 1 << 20  # of runs with gaps, in memory at once


@dataclass(frozen=True, kw_only=True)
class PlainArray:
    """An array of which a file holds all bytes in order, the last axis fastest.

    Attributes
    ----------
    path : Path
        The file.
    stamp : tuple of int
        Its size and time when its header was read.
    offset : int
        Bytes before the array.
    shape : tuple of int
        Any number of axes.
    dtype : numpy.dtype
        As stored.
    """

    path: Path
    stamp: Stamp
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, box: Sequence[slice]) -> NDArray[Any]:
        """Read a box; each slice has a start and a stop, and step 1.

        Raises
        ------
        ReadError
            If the file has changed.
        EOFError, OSError
            If it is cut off meanwhile, or cannot be read.
        """
        block = np.empty([part.stop - part.start for part in box], self.dtype)
        if not block.size:
            return block
        strides = [self.dtype.itemsize] * len(self.shape)
        for axis in reversed(range(len(strides) - 1)):
            strides[axis] = strides[axis + 1] * self.shape[axis + 1]
        starts = (part.start for part in box)
        first = sum(at * step for at, step in zip(starts, strides, strict=True))
        with opened(self.path, self.stamp) as file:
            _Reader(file, self.dtype).read(self.offset + first, strides, block)
        return block


class _Reader:
    def __init__(self, file: IO[bytes], dtype: np.dtype[Any]) -> None:
        self._file = file
        self._dtype = dtype
        self._piece: NDArray[np.uint8] | None = None

    def read(self, at: int, strides: Sequence[int], block: NDArray[Any]) -> None:
        """Fill a block whose first voxel lies at byte `at`, others by `strides`."""
        length = _span(strides, block.shape)
        if length == block.nbytes:  # no gaps
            self._file.seek(at)
            fill(self._file, block.reshape(-1).view(np.uint8).data)
            return
        inner = _span(strides[1:], block.shape[1:])
        has_gaps = len(block) > 1 and strides[0] - inner > _GAP_BYTES
        count = _PIECE_BYTES // strides[0]
        if length <= _PIECE_BYTES and not has_gaps:
            self._read_along(at, length, strides, block)
        elif has_gaps or count < 2 or len(block) == 1:
            for number, part in enumerate(block):
                self.read(at + number * strides[0], strides[1:], part)
        else:
            for number in range(0, len(block), count):
                part = block[number : number + count]
                self.read(at + number * strides[0], strides, part)

    def _read_along(
        self, at: int, length: int, strides: Sequence[int], block: NDArray[Any]
    ) -> None:
        if self._piece is None:
            self._piece = np.empty(_PIECE_BYTES, np.uint8)
        self._file.seek(at)
        fill(self._file, self._piece[:length].data)
        block[...] = np.ndarray(
            block.shape, self._dtype, self._piece.data, strides=tuple(strides)
        )


def _span(strides: Sequence[int], shape: Sequence[int]) -> int:
    """Bytes from the first voxel of a box to its last one."""
    steps = zip(strides, shape, strict=True)
    return sum(step * (size - 1) for step, size in steps) + strides[-1]
