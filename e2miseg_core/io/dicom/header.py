"""One DICOM file: what it holds, where its frames lie, where its pixels are.

Only the header is read, and of it only the tags of `tags`.
"""

import gzip
import logging
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2miseg_core.io.dicom.frames import Frame, read_frames
from e2miseg_core.io.dicom.suv import PetTags, read_pet_tags
from e2miseg_core.io.dicom.tags import PARSE_ERRORS, TOP_LEVEL, Tags
from e2miseg_core.io.dicom.words import safe_words

__all__ = ["Header", "Instance", "PixelLayout", "is_dicom", "read_header"]

_HEADER_BYTES = 256 << 20  # the per-frame groups of some 100,000 frames
_PIECE = 1 << 20
_MOST_PACKED = 2000  # times as large as packed: an even image
_ANY_FRAME = 64 << 20  # bytes that a frame may have whatever the file's size
_PIXEL_KINDS = {0x7FE0_0010: "integer", 0x7FE0_0008: "float", 0x7FE0_0009: "double"}
_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OV", b"OL", b"UN"})
_UNDEFINED = 0xFFFF_FFFF
_GROUPS = (0x0002, 0x0008)
_DIRECTORY = "1.2.840.10008.1.3.10"

# Values of tags must reach no log: pydicom quotes some.
logging.getLogger("pydicom").addHandler(logging.NullHandler())


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One object: a file with its frames.

    Attributes
    ----------
    path : Path
        Of the file.
    sop_uid, sop_class : str
        UIDs of the object and of its kind.
    layout : PixelLayout or None
        None where it holds no pixels.
    frames : tuple of Frame
        In the order of the file; empty where it is not an image, or has a problem.
    problem : str
        Why its pixels cannot be read, empty if they can.
    """

    path: Path
    sop_uid: str = field(repr=False)
    sop_class: str
    layout: PixelLayout | None
    frames: tuple[Frame, ...] = field(repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is kept of a file's header.

    Attributes
    ----------
    instance : Instance
        The object.
    series_uid, reference_uid : str
        Of the series, and of its frame of reference.
    modality, description : str
        "CT"; words of the series description that cannot name anybody.
    padding : float or None
        PixelPaddingValue, as stored.
    has_lut : bool
        Whether values are scaled by a table, which is not applied.
    pet : PetTags or None
        For SUV.
    """

    instance: Instance
    series_uid: str = field(repr=False)
    reference_uid: str = field(repr=False)
    modality: str
    description: str
    padding: float | None
    has_lut: bool
    pet: PetTags | None


class _Bounded:
    """A file that is read piece by piece, up to a limit, whatever is asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = _HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            msg = "a deflated data set"
            raise ValueError(msg)
        wanted = min(size, self._left)
        pieces = []
        while wanted > 0:
            piece = self._file.read(min(wanted, _PIECE))
            if not piece:
                break
            pieces.append(piece)
            wanted -= len(piece)
        content = b"".join(pieces)
        self._left -= len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())


def open_file(path: Path) -> Any:
    """Open a file for reading, unpacked where its name ends in .gz."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, with or without its preamble."""
    try:
        with open_file(path) as file:
            start = file.read(132)
    except (OSError, EOFError, *PARSE_ERRORS):
        return False
    return start[128:132] == b"DICM" or _is_bare(start)


def _is_bare(start: bytes) -> bool:
    """Whether a data set begins at once: a low tag of group 2 or 8, and its length."""
    if len(start) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", start[:4])
        if group not in _GROUPS or element > 0x1000:
            continue
        if start[4:6].isalpha() and start[4:6].isupper():
            return True
        (length,) = struct.unpack(f"{order}I", start[4:8])
        if order == "<" and length <= 64:
            return True
    return False


def read_header(path: Path) -> Header | None:
    """Read what is needed of a file's header.

    Returns
    -------
    Header or None
        None if the file is not DICOM, or only an index of others.

    Raises
    ------
    ValueError
        If it is DICOM, but damaged.
    """
    from pydicom import dcmread

    if not is_dicom(path):
        return None
    try:
        with open_file(path) as file:
            bounded: Any = _Bounded(file)
            dataset = dcmread(
                bounded, stop_before_pixels=True, force=True, specific_tags=TOP_LEVEL
            )
            return _make_header(path, dataset, bounded)
    except PARSE_ERRORS as error:
        msg = "a damaged header"
        raise ValueError(msg) from error


def _make_header(path: Path, dataset: Any, file: Any) -> Header | None:
    tags = Tags(dataset)
    meta = dataset.file_meta
    syntax = str(meta.get("TransferSyntaxUID", ""))
    sop_class = tags.text("SOPClassUID") or str(meta.get("MediaStorageSOPClassUID", ""))
    if sop_class == _DIRECTORY or not (sop_class or tags.has("Rows")):
        return None
    layout = _read_layout(tags, dataset.original_encoding, syntax, file)
    problem = _find_problem(layout, path) if layout is not None else ""
    is_image = layout is not None and not problem
    frames = read_frames(tags, layout.n_frames) if layout and is_image else ()
    modality = tags.text("Modality")
    words = safe_words(tags.texts("SeriesDescription"))
    instance = Instance(
        path=path,
        sop_uid=tags.text("SOPInstanceUID"),
        sop_class=sop_class,
        layout=layout,
        frames=frames,
        problem=problem,
    )
    return Header(
        instance=instance,
        series_uid=tags.text("SeriesInstanceUID"),
        reference_uid=tags.text("FrameOfReferenceUID"),
        modality=modality if modality.isalnum() and len(modality) <= 16 else "",
        description=words,
        padding=_read_padding(tags),
        has_lut=tags.has("ModalityLUTSequence"),
        pet=read_pet_tags(tags) if modality == "PT" else None,
    )


def _read_padding(tags: Tags) -> float | None:
    value = tags.number("PixelPaddingValue")
    bits = tags.whole("BitsAllocated", 16)
    # The tag has the sign of the pixels, which an implicit VR does not tell.
    is_wrapped = value is not None and value >= 2 ** (bits - 1)
    if value is not None and is_wrapped and tags.whole("PixelRepresentation"):
        value -= 2**bits
    return value


def _find_problem(layout: PixelLayout, path: Path) -> str:
    """Compare what a header announces with what the file can hold."""
    size = path.stat().st_size
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
        is_too_large = layout.frame_bytes > max(_ANY_FRAME, _MOST_PACKED * size)
        if is_too_large or 8 * layout.n_frames > size:
            return f"{announced}, but is only {size} bytes long"
        return ""
    needed = layout.frame_bytes * layout.n_frames
    if layout.allocated == 1:
        needed = (layout.rows * layout.columns * layout.n_frames + 7) // 8
    if layout.photometric == "YBR_FULL_422":
        needed = needed * 2 // 3
    if path.suffix.lower() == ".gz":
        held = layout.length if layout.length <= _MOST_PACKED * size else 0
    else:
        held = min(layout.length, size - layout.offset)
    if held < needed:
        return f"{announced}, but holds {max(held, 0)} bytes of them, not {needed}"
    return ""


def _read_layout(
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
