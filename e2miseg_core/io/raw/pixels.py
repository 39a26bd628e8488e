"""Voxels that lie in a file one after another, as NIfTI, NRRD and MetaImage have it.

Plain files are read as they are. Compressed ones of up to 64 MiB are unpacked whole
and kept a while; gzip of up to 128 MiB is read by an index of its stream; what is
larger is unpacked once into a chunked copy in the cache.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.lazy import Box, merged_chunks, slab_chunks
from e2miseg_core.io.limits import MOST_CHANNELS
from e2miseg_core.io.raw.plain import PlainArray
from e2miseg_core.io.raw.preparing import Preparing
from e2miseg_core.io.raw.stored import CopiedArray, HeldArray, IndexedArray
from e2miseg_core.io.raw.unchanged import stamp_of
from e2miseg_core.io.raw.unpack import Stream, most_bytes
from e2miseg_core.io.raw.unpack_chunks import chunk_shape
from e2miseg_core.io.raw.unpack_copy import unpacking_of

__all__ = ["RawLayout", "RawPixels", "reading_once"]

_HELD_BYTES = 64 << 20
_INDEXED_BYTES = 128 << 20

_once: ContextVar[bool] = ContextVar("reading_once", default=False)


@contextmanager
def reading_once() -> Iterator[None]:
    """Open images that are read from start to end and then forgotten.

    Such as what has just been written and is compared: no copy of it is made where an
    index serves as well.
    """
    token = _once.set(True)
    try:
        yield
    finally:
        _once.reset(token)


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
        "", "gzip", "zlib", "deflate" or "bz2".
    skip : int
        Bytes before the first voxel in the unpacked stream; 0 where there is none.
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
    skip: int = 0
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_scaled(self) -> bool:
        """Whether values are stored divided by a slope, or shifted."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def stored_shape(self) -> tuple[int, int, int, int]:
        """(C, Z, Y, X), or (1, Z, Y, X * C) where the channels come last."""
        channels, z, y, x = self.shape
        return (1, z, y, x * channels) if self.channels_last else self.shape

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels, unpacked."""
        channels, z, y, x = self.shape
        return channels * z * y * x * self.dtype.itemsize


class RawPixels:
    """A `DiskArray`: scaled and in native byte order when read.

    Parameters
    ----------
    layout : RawLayout
        What the header announces.

    Attributes
    ----------
    shape : tuple of int
        (C, Z, Y, X).
    dtype : numpy.dtype
        Of what `read` returns.

    Raises
    ------
    ReadError
        If the file is missing, or cannot hold so many voxels, however compressed.
    """

    def __init__(self, layout: RawLayout) -> None:
        self._layout = layout
        self._stream = _checked_stream(layout)
        self._is_read_once = _once.get()
        self._lock = threading.Lock()
        self._stored: Any = None
        self.shape = layout.shape
        native = layout.dtype.newbyteorder("=")
        self.dtype = np.dtype(np.float32) if layout.is_scaled else native

    def __getstate__(self) -> dict[str, Any]:
        # An index would be pickled with its file, a lock not at all.
        return {**self.__dict__, "_stored": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of blocks along (C, Z, Y, X) that are read well, for `oriented`."""
        itemsize = self._layout.dtype.itemsize
        if not self._is_copied:
            return slab_chunks(self.shape, itemsize)
        _, z, y, x = chunk_shape(self._layout.stored_shape, itemsize)
        across = self.shape[0] if self._layout.channels_last else 1
        return merged_chunks((z, y, max(1, x // across)), self.shape, itemsize)

    @property
    def preparation(self) -> Preparing | None:
        """The copy of a big compressed file, for `Volume.preparation`."""
        if not self._is_copied:
            return None
        copied: CopiedArray = self._open()
        return copied.preparing

    @property
    def _is_copied(self) -> bool:
        size, kind = self._layout.nbytes, self._layout.compression
        by_index = self._is_read_once or size <= _INDEXED_BYTES
        return bool(kind) and size > _HELD_BYTES and not (kind == "gzip" and by_index)

    def name(self, key: str) -> str:
        """Name these voxels as they are now, for `oriented`."""
        layout = self._layout
        return f"{key}-{tokenize(str(layout.path.resolve()), layout, self._stream)}"

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        layout = self._layout
        with self._stream.telling():
            stored = self._read_stored(box)
        if layout.is_scaled:
            with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite
                scaled = stored.astype(np.float64) * layout.slope
                return (scaled + layout.intercept).astype(np.float32)
        return stored.astype(self.dtype, copy=False)

    def _read_stored(self, box: Box) -> NDArray[Any]:
        if not self._layout.channels_last:
            block: NDArray[Any] = self._open()[box]
            return block
        channels, x = self.shape[0], box[3]
        inner = slice(x.start * channels, x.stop * channels)
        flat = self._open()[slice(0, 1), box[1], box[2], inner]
        planes, rows = flat.shape[1:3]
        voxels = flat.reshape(planes, rows, x.stop - x.start, channels)
        return np.array(np.moveaxis(voxels, -1, 0)[box[0]])

    def _open(self) -> Any:
        """What answers a box (C, Z, Y, X) of the stored array."""
        with self._lock:
            if self._stored is None:
                self._stored = self._choose()
            return self._stored

    def _choose(self) -> Any:
        layout, stream = self._layout, self._stream
        shape = layout.stored_shape
        if not layout.compression:
            return PlainArray(
                path=layout.path,
                stamp=stream.stamp,
                offset=layout.offset,
                shape=shape,
                dtype=layout.dtype,
            )
        if layout.nbytes <= _HELD_BYTES:
            return HeldArray(stream, shape, layout.dtype)
        if self._is_copied:
            return CopiedArray(Preparing(unpacking_of(stream, shape, layout.dtype)))
        return IndexedArray(stream, shape, layout.dtype)


def _checked_stream(layout: RawLayout) -> Stream:
    """Compare what the header announces with the most that the file can hold."""
    try:
        stat = layout.path.stat()
    except OSError as error:
        raise ReadError(
            found=f"{layout.path} cannot be read ({error.strerror or error})",
            needed="the file that holds the voxels",
            do="check the path and your rights to read it",
        ) from error
    if layout.shape[0] > MOST_CHANNELS:
        raise ReadError(
            found=f"{layout.path} announces {layout.shape[0]} channels",
            needed=f"at most {MOST_CHANNELS}",
            do="correct or export the file again",
        )
    needed = layout.skip + layout.nbytes
    stored = max(0, stat.st_size - layout.offset)
    if needed > most_bytes(layout.compression, stored):
        channels = layout.shape[0]
        raise ReadError(
            found=f"{layout.path} is cut off: it has {stat.st_size} bytes",
            needed=f"{layout.offset + needed} bytes for {layout.shape[:0:-1]} voxels "
            f"of {layout.dtype.name}"
            + (f" in {channels} channels" if channels > 1 else "")
            + (", unpacked" if layout.compression else ""),
            do="copy or export the file again",
        )
    return Stream(
        path=layout.path,
        offset=layout.offset,
        compression=layout.compression,
        skip=layout.skip,
        nbytes=layout.nbytes,
        stamp=stamp_of(stat),
    )
