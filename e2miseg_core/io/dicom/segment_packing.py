"""Labels as frames of a segmentation: one for each label and plane that is there."""

import zlib
from dataclasses import dataclass

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.lazy import iter_slabs

__all__ = ["PackedFrames", "pack_frames"]


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedFrames:
    """Frames in the order in which they are stored.

    Attributes
    ----------
    places : list of (int, int)
        Label and plane of each; label 0 for frames that hold all labels.
    pixels : bytes
        Binary frames are packed bit by bit, without gaps between frames.
    labels : set of int
        That occur.
    checksum : int
        CRC-32 of the labels, in the order of `iter_slabs`.
    """

    places: list[tuple[int, int]]
    pixels: bytes
    labels: set[int]
    checksum: int


class _Bits:
    """Bytes of bits that come in pieces of any length."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, dtype=bool)
        self.whole = bytearray()

    def add(self, bits: NDArray[np.bool_]) -> None:
        bits = np.concatenate([self._rest, bits.ravel()])
        size = len(bits) // 8 * 8
        self.whole += np.packbits(bits[:size], bitorder="little").tobytes()
        self._rest = bits[size:]

    def close(self) -> bytes:
        return bytes(self.whole + np.packbits(self._rest, bitorder="little").tobytes())


def pack_frames(labels: da.Array, *, is_binary: bool) -> PackedFrames:
    """Read labels once, slab by slab, and make frames of them.

    The first and the last plane have a frame even if it is empty: a segmentation that
    is read by itself has no other way to say how far its grid reaches.

    Parameters
    ----------
    labels : dask array, shape (Z, Y, X)
        Of type uint8 or uint16.
    is_binary : bool
        Whether each label gets frames of its own, else one frame a plane holds all.
    """
    ends = (0, labels.shape[0] - 1)
    places: list[tuple[int, int]] = []
    found: set[int] = set()
    bits, plain = _Bits(), bytearray()
    checksum = 0
    for index, slab in iter_slabs(labels):
        checksum = zlib.crc32(slab.data.cast("B"), checksum)
        for number, plane in enumerate(slab, index[0].start):
            here = np.flatnonzero(np.bincount(plane.ravel())).tolist()
            values = [value for value in here if value > 0]
            found.update(values)
            if not values and number not in ends:
                continue
            if not is_binary:
                places.append((0, number))
                plain += plane.astype(plane.dtype.newbyteorder("<")).tobytes()
                continue
            for value in values or [1]:
                places.append((value, number))
                bits.add(plane == value)
    pixels = bits.close() if is_binary else bytes(plain)
    return PackedFrames(places=places, pixels=pixels, labels=found, checksum=checksum)
