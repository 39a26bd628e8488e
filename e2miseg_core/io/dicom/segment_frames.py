"""Frames of a segmentation: read one at a time, put into planes of a volume."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.dicom.header import open_file
from e2miseg_core.io.lazy import Box

__all__ = ["FrameStore", "SegmentPixels"]


@dataclass(frozen=True, kw_only=True)
class FrameStore:
    """Where the frames of a file are, and how they are stored.

    Attributes
    ----------
    path : Path
        Of the file.
    offset : int
        Of the pixel data in the file, in bytes.
    n_frames, rows, columns : int
        Their number and size.
    bits : int
        Of one pixel: 1 (packed without gaps, also between frames), 8 or 16.
    transfer_syntax : str
        UID of the encoding; empty for pixels that are stored plainly.
    """

    path: Path
    offset: int
    n_frames: int
    rows: int
    columns: int
    bits: int
    transfer_syntax: str = ""

    @property
    def n_bytes(self) -> int:
        """Bytes that plainly stored frames need."""
        return -(-self.n_frames * self.rows * self.columns * self.bits // 8)

    def read(self, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Yield frames (Y, X), one after the other.

        Raises
        ------
        ReadError
            If the file is damaged there, or gone.
        """
        with _told(self.path), open_file(self.path) as file:
            for frame in frames:
                if self.transfer_syntax:
                    yield self._decoded(file, frame)
                else:
                    yield self._plain(file, frame)

    def _plain(self, file: BinaryIO, frame: int) -> NDArray[Any]:
        size = self.rows * self.columns
        start = frame * size * self.bits
        end = start + size * self.bits
        file.seek(self.offset + start // 8)
        stored = file.read(-(-end // 8) - start // 8)
        if len(stored) < -(-end // 8) - start // 8:
            raise EOFError
        if self.bits == 1:
            first = start % 8
            pixels = np.unpackbits(np.frombuffer(stored, np.uint8), bitorder="little")[
                first : first + size
            ]
        else:
            pixels = np.frombuffer(stored, f"<u{self.bits // 8}")
        return pixels.reshape(self.rows, self.columns)

    def _decoded(self, file: BinaryIO, frame: int) -> NDArray[Any]:
        from pydicom.pixels.decoders.base import get_decoder

        options: dict[str, Any] = {
            "rows": self.rows,
            "columns": self.columns,
            "number_of_frames": self.n_frames,
            "samples_per_pixel": 1,
            "bits_allocated": self.bits,
            "bits_stored": self.bits,
            "pixel_representation": 0,
            "photometric_interpretation": "MONOCHROME2",
            "pixel_keyword": "PixelData",
        }
        file.seek(self.offset)
        decoder = get_decoder(self.transfer_syntax)
        pixels, _ = decoder.as_array(file, index=frame, **options)
        return np.asarray(pixels).reshape(self.rows, self.columns)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what damage to pixels raises into one line."""
    try:
        yield
    except ReadError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        NotImplementedError,
        RuntimeError,
        zlib.error,
    ) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ReadError(
            found=f"the frames of {path} cannot be read ({reason})",
            needed="an undamaged DICOM segmentation, not compressed or losslessly",
            do="copy or export the file again",
        ) from error


@dataclass(frozen=True, kw_only=True)
class SegmentPixels:
    """The planes of a segmentation, a `DiskArray`.

    Attributes
    ----------
    store : FrameStore
        Of its frames.
    shape : tuple of int
        Channels, planes, rows, columns.
    dtype : numpy.dtype
        Of the voxels.
    planes : mapping of int to tuple of (int, int, int)
        For a plane its frames: channel, the value that non-zero pixels get (0 to keep
        what is stored), number of the frame.
    scale : float
        Stored values are divided by it.
    padding : int
        A stored value that means background.
    """

    store: FrameStore
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    planes: Mapping[int, tuple[tuple[int, int, int], ...]]
    scale: float = 1.0
    padding: int = 0

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box (C, Z, Y, X); planes without frames are zeros.

        Raises
        ------
        ReadError
            If the file is damaged there, or two segments share a voxel of a channel.
        """
        channels, depth, rows, columns = box
        out = np.zeros([part.stop - part.start for part in box], dtype=self.dtype)
        wanted = sorted(  # in the order of the file, which may be packed
            (frame, plane - depth.start, channel - channels.start, value)
            for plane in range(depth.start, depth.stop)
            for channel, value, frame in self.planes.get(plane, ())
            if channels.start <= channel < channels.stop
        )
        frames = self.store.read([frame for frame, *_ in wanted])
        for (_, plane, channel, value), stored in zip(wanted, frames, strict=True):
            self._put(stored[rows, columns], value, out[channel, plane])
        return out

    def _put(self, part: NDArray[Any], value: int, target: NDArray[Any]) -> None:
        if value:
            inside = part != 0
            if np.any(target[inside]):
                raise ReadError(
                    found=f"{self.store.path} says that its segments do not overlap, "
                    "and they do",
                    needed="a header that tells the truth",
                    do="export the segmentation again",
                )
            target[inside] = value
        elif self.scale != 1.0:
            target[...] = part / self.scale
        else:
            target[...] = np.where(part == self.padding, 0, part)

    @property
    def compared_bytes(self) -> int:
        """Bytes that `has_overlap` reads: of frames that share their plane."""
        count = sum(len(frames) for frames in self.planes.values() if len(frames) > 1)
        return count * self.store.n_bytes // self.store.n_frames

    def has_overlap(self) -> bool:
        """Whether two segments share a voxel; looks only where they share a plane."""
        plane_of = {
            frame: plane
            for plane, frames in self.planes.items()
            if len(frames) > 1
            for _, _, frame in frames
        }
        wanted = sorted(plane_of)  # once through the file, which may be packed
        taken: dict[int, NDArray[np.uint8]] = {}
        for frame, pixels in zip(wanted, self.store.read(wanted), strict=True):
            bits = np.packbits(pixels != 0)
            before = taken.setdefault(plane_of[frame], np.zeros_like(bits))
            if np.any(before & bits):
                return True
            before |= bits
        return False
