"""Arrays with named axes (zarr, HDF5, TIFF), presented as (C, Z, Y, X)."""

import itertools
import lzma
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.lazy import Box, merged_chunks, slab_chunks
from e2miseg_core.io.limits import MOST_CHANNELS, MOST_PIECES
from e2miseg_core.io.system_errors import system_error

__all__ = ["SPATIAL_NOTE", "AxisPixels", "StoredArray", "checked_array", "faults"]

SPATIAL_NOTE = "axes z, y, x taken as superior, posterior, left"
_LEADING = "tc"  # the order of what becomes channels; other axes follow as stored
_MOST_CHUNK_BYTES = 2 << 30  # a chunk is unpacked whole; no common codec packs more


def faults() -> tuple[type[BaseException], ...]:
    """What damaged metadata, chunks and connections make the libraries raise."""
    known: tuple[type[BaseException], ...] = (
        *(OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError),
        *(ArithmeticError, AssertionError, EOFError),
        SyntaxError,  # of XML, and PIL's word for a damaged file
        *(zlib.error, lzma.LZMAError, struct.error, zipfile.BadZipFile),
    )
    network = sys.modules.get("aiohttp")  # there only once a URL has been opened
    return known if network is None else (*known, network.ClientError)


class StoredArray(Protocol):
    """An array on disk: `read` gets numbers and slices with step 1, one an axis."""

    def read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return a part; the axes with a number are gone."""


class AxisPixels:
    """A `DiskArray`: axes besides z, y, x in one, missing axes added.

    Parameters
    ----------
    stored : StoredArray
        The array as stored.
    axes : sequence of str
        One letter an axis, each once; y and x among them.
    shape : sequence of int
        Of the stored array.
    dtype : numpy.dtype
        As stored; read in native byte order.
    place : str
        For messages.
    grid : sequence of int, optional
        Sizes of chunks along the stored axes that can be damaged one by one.
    """

    def __init__(
        self,
        stored: StoredArray,
        axes: Sequence[str],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        place: str,
        *,
        grid: Sequence[int] | None = None,
    ) -> None:
        self._stored = stored
        self._axes = tuple(axes)
        self._place = place
        self._grid = grid
        sizes = dict(zip(axes, shape, strict=True))
        others = [axis for axis in axes if axis not in "zyx"]
        known = [axis for axis in _LEADING if axis in others]
        self._leading = (*known, *(axis for axis in others if axis not in known))
        self._frames = tuple(sizes[axis] for axis in self._leading)
        depth = sizes.get("z", 1)
        self.shape = (math.prod(self._frames), depth, sizes["y"], sizes["x"])
        self.dtype: np.dtype[Any] = dtype.newbyteorder("=")

    @property
    def unit(self) -> tuple[int, int, int] | None:
        """Voxels along Z, Y, X that are decoded together, where that is known."""
        if self._grid is None:
            return None
        sizes = dict(zip(self._axes, self._grid, strict=True))
        return sizes.get("z", 1), sizes["y"], sizes["x"]

    def chunks(self, stored: Sequence[int] | None) -> tuple[tuple[int, ...], ...]:
        """Sizes along (C, Z, Y, X) of the pieces to read, one or more chunks each.

        Parameters
        ----------
        stored : sequence of int or None
            Of the stored chunks, one an axis; None where the bytes lie in order.
        """
        if stored is None:
            return slab_chunks(self.shape, self.dtype.itemsize)
        sizes = dict(zip(self._axes, stored, strict=True))
        pieces = (sizes.get("z", 1), sizes["y"], sizes["x"])
        return merged_chunks(pieces, self.shape, self.dtype.itemsize)

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        frames = range(box[0].start, box[0].stop)
        shape = (len(frames), *(part.stop - part.start for part in box[1:]))
        block = np.empty(shape, dtype=self.dtype)
        order = [axis for axis in self._axes if axis in "zyx"]
        turn = [order.index(axis) for axis in "zyx" if axis in order]
        for at, frame in enumerate(frames):
            keys: dict[str, int | slice] = dict(zip("zyx", box[1:], strict=True))
            numbers = np.unravel_index(frame, self._frames) if self._frames else ()
            keys.update(zip(self._leading, map(int, numbers), strict=True))
            index = tuple(keys[axis] for axis in self._axes)
            block[at] = self._part(index).transpose(turn).reshape(shape[1:])
        return block

    def _part(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        try:
            return self._stored.read(index)
        except ReadError:
            raise
        except faults() as error:
            if (said := system_error(self._place, error)) is not None:
                raise said from error
            region = ", ".join(
                f"{axis} {part.start} to {part.stop}"
                if isinstance(part, slice)
                else f"{axis} {part}"
                for axis, part in zip(self._axes, self._damaged(index), strict=True)
            )
            raise ReadError(
                found=f"{self._place} is damaged at {region} "
                f"({type(error).__name__}: {error})",
                needed="whole chunks",
                do="copy or export it again",
            ) from error

    def _damaged(self, index: tuple[int | slice, ...]) -> tuple[int | slice, ...]:
        """Narrow what could not be read down to the first chunk that cannot."""
        if self._grid is None:
            return index
        spans: list[list[int | slice]] = [
            [part] if isinstance(part, int) else list(_aligned(part, step))
            for part, step in zip(index, self._grid, strict=True)
        ]
        for chunk in itertools.product(*spans):
            try:
                self._stored.read(chunk)
            except faults():
                return chunk
        return index


def _aligned(part: slice, step: int) -> Iterator[slice]:
    """Cut a slice where chunks end."""
    low = part.start
    while low < part.stop:
        high = min((low // step + 1) * step, part.stop)
        yield slice(low, high)
        low = high


def checked_array(
    place: str,
    axes: Sequence[str],
    shape: Sequence[int],
    dtype: np.dtype[Any],
    chunks: Sequence[int] | None,
) -> None:
    """Refuse an array that cannot be shown, before anything is made of its size.

    Raises
    ------
    ReadError
        If it holds no numbers, is empty, would become more channels or pieces than
        can be told apart, or has chunks that fit into no memory.
    """
    what = f"shape {tuple(shape)}, chunks {tuple(chunks or ())}, type {dtype}"
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        problem = f"values of type {dtype}"
        needed = "whole or real numbers of up to 64 bits"
    elif min(shape, default=0) < 1 or (chunks is not None and min(chunks) < 1):
        problem, needed = f"nothing in it ({what})", "at least one voxel"
    elif chunks is not None and math.prod(chunks) * dtype.itemsize > _MOST_CHUNK_BYTES:
        problem, needed = f"chunks that are too large ({what})", "chunks below 2 GiB"
    elif _n_channels(axes, shape) > MOST_CHANNELS:
        problem = f"{_n_channels(axes, shape)} frames and channels"
        needed = f"at most {MOST_CHANNELS}"
    elif _n_pieces(shape, dtype, chunks) > MOST_PIECES:
        problem = f"a size that is not believable ({what})"
        needed = f"at most {MOST_PIECES} chunks along an axis"
    else:
        return
    raise ReadError(
        found=f"{place} has {problem}", needed=needed, do="convert it, or export again"
    )


def _n_channels(axes: Sequence[str], shape: Sequence[int]) -> int:
    sizes = zip(axes, shape, strict=True)
    return math.prod(size for axis, size in sizes if axis not in "zyx")


def _n_pieces(
    shape: Sequence[int], dtype: np.dtype[Any], chunks: Sequence[int] | None
) -> int:
    """Most pieces along an axis, at most: chunks are put together where it can be."""
    if chunks is None:
        return max(shape) * dtype.itemsize >> 20
    return max(-(-size // step) for size, step in zip(shape, chunks, strict=True))
