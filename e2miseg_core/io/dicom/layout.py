"""How the pixels of a file are stored, and whether it can hold what it announces."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.io.dicom.problem import Problem, cut_off
from e2miseg_core.io.dicom.tags import Tags

__all__ = ["MOST_PACKED", "PixelLayout", "find_problem", "read_layout", "stored_type"]

_PIXEL_KINDS = {0x7FE0_0010: "integer", 0x7FE0_0008: "float", 0x7FE0_0009: "double"}
_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OV", b"OL", b"UN"})
_UNDEFINED = 0xFFFF_FFFF
_FLOATS = {"float": "f4", "double": "f8"}
MOST_PACKED = 2000  # times as large as packed: an even image
_ANY_FRAME = 64 << 20  # bytes that a frame may have whatever the file's size


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """How and where the pixels of a file are stored.

    Attributes
    ----------
    rows, columns, samples, n_frames : int
        As announced.
    planar : bool
        Whether the samples of a frame lie one plane after another.
    allocated, stored, high : int
        Bits of a sample, those used, and the number of the highest one used.
    is_signed : bool
        Whether stored integers are two's complements.
    kind : str
        "integer", "float" (32 bits) or "double" (64 bits).
    photometric : str
        PhotometricInterpretation.
    transfer_syntax : str
        UID; empty if the file does not say.
    is_big_endian, is_encapsulated : bool
        Byte order; whether frames are compressed.
    offset, length : int
        Of the pixel data in the file, in bytes; length 0 if it is not stated.
    """

    rows: int
    columns: int
    samples: int
    n_frames: int
    planar: bool
    allocated: int
    stored: int
    high: int
    is_signed: bool
    kind: str
    photometric: str
    transfer_syntax: str
    is_big_endian: bool
    is_encapsulated: bool
    offset: int
    length: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, uncompressed."""
        return self.rows * self.columns * self.samples * ((self.allocated + 7) // 8)


def find_problem(layout: PixelLayout, path: Path) -> Problem | None:
    """Compare what a header announces with what the file can hold."""
    size = path.stat().st_size
    found = _find_lie(layout, path, size)
    return cut_off(found) if found else None


def _find_lie(layout: PixelLayout, path: Path, size: int) -> str:
    announced = (
        f"announces {layout.n_frames} frames of {layout.rows} x {layout.columns} "
        f"pixels with {layout.samples} samples of {layout.allocated} bits"
    )
    if min(layout.rows, layout.columns, layout.samples) < 1:
        return announced
    if layout.allocated not in (1, 8, 16, 32, 64):
        return announced
    if layout.is_encapsulated:
        # Each frame is an item of its own, which takes 8 bytes.
        is_too_large = layout.frame_bytes > max(_ANY_FRAME, MOST_PACKED * size)
        if is_too_large or 8 * layout.n_frames > size:
            return f"{announced}, but is only {size} bytes long"
        return ""
    needed = layout.frame_bytes * layout.n_frames
    if layout.allocated == 1:
        needed = (layout.rows * layout.columns * layout.n_frames + 7) // 8
    if layout.photometric == "YBR_FULL_422":
        needed = needed * 2 // 3
    if path.suffix.lower() == ".gz":
        held = layout.length if layout.length <= MOST_PACKED * size else 0
    else:
        held = min(layout.length, size - layout.offset)
    if held < needed:
        return f"{announced}, but holds {max(held, 0)} bytes of them, not {needed}"
    return ""


def read_layout(
    tags: Tags, encoding: tuple[bool, bool], syntax: str, file: Any
) -> PixelLayout | None:
    """Find the pixel data, at which the reading of the header has stopped."""
    is_implicit, is_little = encoding
    start = file.read(12)
    if len(start) < 8:
        return None
    order = "<" if is_little else ">"
    group, element = struct.unpack(f"{order}HH", start[:4])
    kind = _PIXEL_KINDS.get(group << 16 | element)
    if kind is None:
        return None
    offset = file.tell() - len(start)
    if is_implicit or start[4:6] not in _LONG_VRS:
        (length,) = struct.unpack(f"{order}I", start[4:8])
        offset += 8
    else:
        (length,) = struct.unpack(f"{order}I", start[8:12])
        offset += 12
    allocated = tags.whole("BitsAllocated", 16)
    stored = tags.whole("BitsStored", allocated)
    if not 1 <= stored <= allocated:
        stored = allocated
    high = tags.whole("HighBit", stored - 1)
    return PixelLayout(
        rows=tags.whole("Rows"),
        columns=tags.whole("Columns"),
        samples=tags.whole("SamplesPerPixel", 1),
        n_frames=max(1, tags.whole("NumberOfFrames", 1)),
        planar=tags.whole("PlanarConfiguration") == 1,
        allocated={"float": 32, "double": 64}.get(kind, allocated),
        stored=stored,
        high=high if stored - 1 <= high < allocated else stored - 1,
        is_signed=tags.whole("PixelRepresentation") == 1,
        kind=kind,
        photometric=tags.text("PhotometricInterpretation") or "MONOCHROME2",
        transfer_syntax=syntax,
        is_big_endian=not is_little,
        is_encapsulated=length == _UNDEFINED,
        offset=offset,
        length=0 if length == _UNDEFINED else length,
    )


def stored_type(layout: PixelLayout) -> np.dtype[Any]:
    """Type of the stored samples, in the byte order of the file."""
    order = ">" if layout.is_big_endian else "<"
    if layout.kind in _FLOATS:
        return np.dtype(order + _FLOATS[layout.kind])
    kind = "i" if layout.is_signed else "u"
    return np.dtype(f"{order}{kind}{max(1, layout.allocated // 8)}")
