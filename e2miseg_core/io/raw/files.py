"""Voxels in the files that a header names: checked, stacked, made a volume."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.lazy import Box, DiskArray, oriented, slab_chunks
from e2miseg_core.io.limits import MOST_CHANNELS, MOST_PIECES
from e2miseg_core.io.raw.pixels import RawLayout, RawPixels
from e2miseg_core.volume import Segments, Source, Volume

__all__ = ["RawFiles", "RawImage", "present", "raw_offset"]


@dataclass(frozen=True, kw_only=True)
class RawFiles:
    """Where the voxels of an image lie.

    Attributes
    ----------
    header : Path
        For messages.
    files : tuple of Path
        One, or several that hold equal numbers of planes, in their order.
    offsets : tuple of int
        Bytes before the voxels, or the compressed stream, of each file.
    shape : tuple of int
        (C, Z, Y, X), X fastest.
    dtype : numpy.dtype
        As stored.
    channels_last : bool
        Whether the channels of a voxel lie beside each other.
    compression : str
        As for `RawLayout`.
    skip : int
        Unpacked bytes before the first voxel.
    """

    header: Path
    files: tuple[Path, ...]
    offsets: tuple[int, ...]
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    channels_last: bool = False
    compression: str = ""
    skip: int = 0

    @property
    def n_planes(self) -> int:
        """Planes that lie one after another, each of all channels or of one."""
        return self.shape[1] if self.channels_last else self.shape[0] * self.shape[1]

    def pixels(self) -> DiskArray:
        """Return the voxels, after a look at the sizes of the files.

        Raises
        ------
        ReadError
            If the files cannot hold what the header announces.
        """
        _check_believable(self)
        if len(self.files) == 1:
            return RawPixels(self._layout(0, self.shape))
        planes, rest = divmod(self.n_planes, len(self.files))
        if rest or not planes:
            raise ReadError(
                found=f"{self.header} names {len(self.files)} files for "
                f"{self.n_planes} planes",
                needed="the same number of planes in every file",
                do="check that no file is missing from its list",
            )
        channels = self.shape[0] if self.channels_last else 1
        shape = (channels, planes, *self.shape[2:])
        pieces = [
            RawPixels(self._layout(number, shape)) for number in range(len(self.files))
        ]
        return _Stacked(pieces, self.shape, channels_last=self.channels_last)

    def _layout(self, number: int, shape: tuple[int, int, int, int]) -> RawLayout:
        return RawLayout(
            path=self.files[number],
            offset=self.offsets[number],
            shape=shape,
            dtype=self.dtype,
            channels_last=self.channels_last,
            compression=self.compression,
            skip=self.skip,
        )


def raw_offset(path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    """Bytes before voxels that end where their file ends.

    Raises
    ------
    ReadError
        If the file is too small.
    """
    needed = math.prod(shape) * dtype.itemsize
    offset = path.stat().st_size - needed
    if offset < 0:
        raise _cut_off(path, needed)
    return offset


def _check_believable(raw: RawFiles) -> None:
    if min(raw.shape) < 1:
        problem, needed = f"the sizes {raw.shape}", "at least one voxel along each axis"
    elif raw.shape[0] > MOST_CHANNELS:
        problem, needed = f"{raw.shape[0]} channels", f"at most {MOST_CHANNELS}"
    elif max(raw.shape[1:]) > MOST_PIECES:
        problem, needed = f"the sizes {raw.shape[1:]}", f"at most {MOST_PIECES} each"
    else:
        return
    raise ReadError(
        found=f"{raw.header} has {problem}",
        needed=needed,
        do="correct or export the file again",
    )


def _cut_off(path: Path, needed: int) -> ReadError:
    return ReadError(
        found=f"{path} is cut off: it has {path.stat().st_size} bytes",
        needed=f"{needed} bytes for the voxels that its header announces",
        do="copy or export the file again",
    )


class _Stacked:
    """A `DiskArray` of files with as many planes each."""

    def __init__(
        self,
        pieces: Sequence[DiskArray],
        shape: tuple[int, int, int, int],
        *,
        channels_last: bool,
    ) -> None:
        self._pieces = pieces
        self._channels_last = channels_last
        self.shape = shape
        self.dtype = pieces[0].dtype

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        channels, planes, rows, columns = box
        if self._channels_last:
            return self._planes(channels, planes.start, planes.stop, rows, columns)
        parts = [
            self._planes(
                slice(0, 1),
                channel * self.shape[1] + planes.start,
                channel * self.shape[1] + planes.stop,
                rows,
                columns,
            )
            for channel in range(channels.start, channels.stop)
        ]
        if not parts:
            sizes = (part.stop - part.start for part in box)
            return np.empty(tuple(sizes), self.dtype)
        return np.concatenate(parts)

    def _planes(
        self, channels: slice, start: int, stop: int, rows: slice, columns: slice
    ) -> NDArray[Any]:
        """Read planes counted through all files."""
        each = self._pieces[0].shape[1]
        sizes = (part.stop - part.start for part in (channels, rows, columns))
        n_channels, height, width = sizes
        block = np.empty((n_channels, stop - start, height, width), self.dtype)
        at = start
        while at < stop:
            number, first = divmod(at, each)
            last = min(each, first + stop - at)
            box = (channels, slice(first, last), rows, columns)
            target = slice(at - start, at - start + last - first)
            block[:, target] = self._pieces[number].read(box)
            at += last - first
        return block


@dataclass(frozen=True, kw_only=True)
class RawImage:
    """What a header says of an image, besides where the voxels lie.

    Attributes
    ----------
    address : Address
        Of the header.
    format : str
        Key of the format.
    geometry : Geometry
        Of the stored axes.
    channels : tuple of str
        Names.
    notes : tuple of str
        Rules that were applied.
    segments : Segments or None
        Of labels.
    details : mapping
        What the format's writer needs.
    is_oriented : bool
        Whether the header says how the axes lie in the world.
    """

    address: Address
    format: str
    geometry: Geometry
    channels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    segments: Segments | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    is_oriented: bool = True


def present(image: RawImage, pixels: DiskArray, files: Sequence[Path]) -> Volume:
    """Make the volume.

    Parameters
    ----------
    image : RawImage
        What the header says.
    pixels : DiskArray
        The voxels.
    files : sequence of Path
        All that hold something of it: a change of one makes other voxels.
    """
    transform = canonical_transform(image.geometry)
    stats = [(str(path.resolve()), path.stat()) for path in files]
    token = tokenize(
        str(image.address), [(name, s.st_mtime_ns, s.st_size) for name, s in stats]
    )
    chunks = slab_chunks(pixels.shape, pixels.dtype.itemsize)
    chunks = getattr(pixels, "chunks", chunks)
    data = oriented(pixels, chunks, transform, f"{image.format}-{token}")
    return Volume(
        levels=(data,),
        geometry=transform.apply_geometry(image.geometry),
        channels=image.channels,
        source=Source(
            uri=str(image.address),
            format=image.format,
            geometry=image.geometry,
            transform=transform,
            dtype=pixels.dtype,
            details={**image.details, "files": tuple(map(str, files))},
        ),
        notes=image.notes,
        segments=image.segments,
        is_oriented=image.is_oriented,
        preparation=getattr(pixels, "preparation", None),
    )
