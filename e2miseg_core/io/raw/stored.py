"""Compressed voxels that answer boxes: from memory, by an index, or from a copy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.lazy import Box
from e2miseg_core.io.raw.preparing import Preparing
from e2miseg_core.io.raw.unpack import Stream
from e2miseg_core.io.raw.unpack_memory import IndexedBytes, held_bytes

__all__ = ["CopiedArray", "HeldArray", "IndexedArray"]

_AT_ONCE_BYTES = 16 << 20  # unpacked at once, whatever the box asked for


@dataclass(frozen=True)
class HeldArray:
    """Unpacked in memory, as long as there is room for it."""

    stream: Stream
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]

    def __getitem__(self, box: Box) -> NDArray[Any]:
        stored = held_bytes(self.stream).view(self.dtype).reshape(self.shape)
        return stored[box].copy()


@dataclass(frozen=True)
class CopiedArray:
    """In a copy that is there, or being made."""

    preparing: Preparing

    def __getitem__(self, box: Box) -> NDArray[Any]:
        return self.preparing.read(box)


class IndexedArray:
    """In a stream with an index: whole planes are read, since rows would be sought."""

    def __init__(
        self, stream: Stream, shape: tuple[int, int, int, int], dtype: np.dtype[Any]
    ) -> None:
        self._bytes = IndexedBytes(stream)
        self._shape = shape
        self._dtype = dtype

    def __getitem__(self, box: Box) -> NDArray[Any]:
        sizes = [part.stop - part.start for part in box]
        block = np.empty(sizes, self._dtype)
        if not block.size:
            return block
        _, depth, height, width = self._shape
        plane = height * width * self._dtype.itemsize
        is_large = plane > _AT_ONCE_BYTES
        rows = box[2] if is_large else slice(0, height)
        cut = slice(None) if is_large else box[2]
        step = 1 if is_large else max(1, _AT_ONCE_BYTES // max(1, plane))
        for at, group in enumerate(range(box[0].start, box[0].stop)):
            for start in range(box[1].start, box[1].stop, step):
                planes = range(start, min(start + step, box[1].stop))
                part = np.empty(
                    (len(planes), rows.stop - rows.start, width), block.dtype
                )
                first = ((group * depth + start) * height + rows.start) * width
                flat = part.reshape(-1).view(np.uint8)
                self._bytes.read_into(first * self._dtype.itemsize, flat.data)
                target = slice(start - box[1].start, planes.stop - box[1].start)
                block[at, target] = part[:, cut, box[3]]
        return block
