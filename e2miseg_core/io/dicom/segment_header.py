"""What a segmentation announces: its frames, against the file's size; its segments."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from e2miseg_core.errors import ReadError
from e2miseg_core.io.dicom.decoding import is_decodable
from e2miseg_core.io.dicom.segment_colors import dicom_to_rgb
from e2miseg_core.io.dicom.segment_file import DicomHeader
from e2miseg_core.io.dicom.segment_frames import FrameStore
from e2miseg_core.volume import Segments

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["described_segments", "frame_store", "segment_of_frames"]

_MOST_PIXELS = 1 << 28  # of a compressed frame, whose size the file does not bound
_RLE, _RLE_GAIN = "1.2.840.10008.1.2.5", 64  # two bytes give at most 128


def frame_store(header: DicomHeader, path: Path) -> FrameStore:
    """Compare the announced frames with the bytes that the file has."""
    dataset = header.dataset
    rows, columns = (int(dataset.get(key) or 0) for key in ("Rows", "Columns"))
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    bits = int(dataset.get("BitsAllocated") or 0)
    store = FrameStore(
        path=path,
        offset=header.offset,
        n_frames=n_frames,
        rows=rows,
        columns=columns,
        bits=bits,
        transfer_syntax=header.transfer_syntax,
    )
    if min(rows, columns, n_frames) < 1 or bits not in (1, 8, 16):
        raise ReadError(
            found=f"{path} announces {n_frames} frames of {rows} x {columns} pixels of "
            f"{bits} bits",
            needed="frames of 1, 8 or 16 bits a pixel",
            do="export the segmentation again",
        )
    if header.transfer_syntax and not is_decodable(header.transfer_syntax):
        raise ReadError(
            found=f"{path} is compressed in a way that cannot be decoded here "
            f"(transfer syntax {header.transfer_syntax:.70})",
            needed="pixels that pydicom can decode",
            do="export it uncompressed, for example with gdcmconv --raw",
        )
    if not _fits(store, header.n_bytes):
        raise ReadError(
            found=f"{path} announces {n_frames} frames of {rows} x {columns} pixels, "
            f"and holds {header.n_bytes} bytes of them",
            needed="a whole file",
            do="copy or export the file again",
        )
    return store


def _fits(store: FrameStore, held: int) -> bool:
    """Whether so many bytes can hold the announced frames."""
    if not store.transfer_syntax:
        return store.n_bytes <= held
    gain = _RLE_GAIN if store.transfer_syntax == _RLE else _MOST_PIXELS
    most = min(_MOST_PIXELS, gain * held)
    return store.rows * store.columns <= most and store.n_frames <= held


def described_segments(dataset: "Dataset") -> Segments:
    """Names and colours of the segments."""
    names: dict[int, str] = {}
    colors: dict[int, tuple[int, int, int]] = {}
    for segment in dataset.get("SegmentSequence") or []:
        number = int(segment.get("SegmentNumber") or 0)
        if number < 1:
            continue  # a label map may describe its background
        names[number] = str(segment.get("SegmentLabel") or f"segment {number}")
        color = segment.get("RecommendedDisplayCIELabValue")
        if color is not None and len(color) == 3:
            colors[number] = dicom_to_rgb([int(value) for value in color])
    return Segments(names=names, colors=colors)


def segment_of_frames(
    stated: Sequence[int], described: Segments, kind: str, path: Path
) -> list[int]:
    """Tell for each frame its segment; 0 for frames of a label map."""
    if kind == "LABELMAP":
        return [0] * len(stated)
    if kind not in ("BINARY", "FRACTIONAL"):
        raise ReadError(
            found=f"{path} has the segmentation type {kind!r:.30}",
            needed="BINARY, FRACTIONAL or LABELMAP",
            do="export the segmentation as one of these",
        )
    numbers = list(stated)
    if not any(numbers) and len(described.names) == 1:
        numbers = [*described.names] * len(numbers)
    unknown = sorted(set(numbers) - set(described.names))
    if unknown:
        raise ReadError(
            found=f"{path} has frames of a segment {unknown[0]} that it does not "
            "describe",
            needed="a description of each segment",
            do="export the segmentation again",
        )
    return numbers
