"""DICOM segmentations (SEG): binary, fractional and label maps, on their own grid.

- Segments that share no voxel become one label map whose values are segment numbers,
  with names and colours; whether they do is looked up in the voxels, not believed.
- Segments that overlap become one channel each, 0 and 1.
- Fractional segments become one channel each, float32 from 0 to 1.
- A label map comes as it is; its pixel padding value is background.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from dask.base import tokenize

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.dicom.decoding import is_decodable
from e2miseg_core.io.dicom.segment_colors import dicom_to_rgb
from e2miseg_core.io.dicom.segment_file import DicomHeader, damage_told, read_header
from e2miseg_core.io.dicom.segment_frames import FrameStore, SegmentPixels
from e2miseg_core.io.dicom.segment_grid import frame_places, grid_of_frames
from e2miseg_core.io.lazy import oriented, slab_chunks
from e2miseg_core.volume import Segments, Source, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SEGMENTATION_CLASSES", "read_segmentation"]

# SOP classes: Segmentation Storage, Label Map Segmentation Storage.
SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

_MOST_PIXELS = 1 << 28  # of a compressed frame, whose size the file does not bound
_RLE, _RLE_GAIN = "1.2.840.10008.1.2.5", 64  # two bytes give at most 128


def read_segmentation(address: Address) -> Volume:
    """Open a DICOM segmentation lazily.

    Parameters
    ----------
    address : Address
        Of a file; the series that it was made from is not needed.

    Returns
    -------
    Volume
        Planes are read when they are asked for.

    Raises
    ------
    ReadError
        If the file is no segmentation, damaged, or smaller than it announces.
    GeometryError
        If its frames do not lie on one even grid.
    """
    path = address.path
    with damage_told(path):
        header = read_header(path)
        found = _read(header, path)
    return _volume(found, address, path)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Found:
    """What a file holds; `segments` is None where voxels are no labels."""

    pixels: SegmentPixels
    geometry: Geometry
    channels: tuple[str, ...]
    segments: Segments | None
    notes: tuple[str, ...]


def _read(header: DicomHeader, path: Path) -> _Found:
    dataset = header.dataset
    if dataset.get("SOPClassUID") not in SEGMENTATION_CLASSES:
        raise ReadError(
            found=f"{path} is DICOM, but no segmentation",
            needed="a DICOM SEG file",
            do="open it as an image, or choose another file",
        )
    store = _store(header, path)
    places = frame_places(dataset, store.n_frames, path)
    grid, planes, notes = grid_of_frames(places, store.rows, store.columns, path)
    described = _described(dataset)
    kind = str(dataset.get("SegmentationType", ""))
    numbers = _segment_numbers(places.segments, described, kind, path)
    frames = list(zip(planes.tolist(), numbers, strict=True))
    if len(set(frames)) < len(frames):
        raise ReadError(
            found=f"{path} has several frames of one segment in one plane",
            needed="one frame for each segment and plane",
            do="export one segmentation for each point in time",
        )
    if kind == "LABELMAP":
        padding = int(dataset.get("PixelPaddingValue") or 0)
        return _label_map(store, grid, frames, described, padding, notes)
    if kind == "FRACTIONAL":
        scale = float(dataset.get("MaximumFractionalValue") or 255)
        meaning = str(dataset.get("SegmentationFractionalType") or "values").lower()
        notes.append(f"fractional: {meaning} from 0 to 1, one channel a segment")
        return _stacked(store, grid, frames, described, scale, notes)
    return _binary(store, grid, frames, described, notes)


def _store(header: DicomHeader, path: Path) -> FrameStore:
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
    held = header.n_bytes
    if header.transfer_syntax and not is_decodable(header.transfer_syntax):
        raise ReadError(
            found=f"{path} is compressed in a way that cannot be decoded here "
            f"(transfer syntax {header.transfer_syntax:.70})",
            needed="pixels that pydicom can decode",
            do="export it uncompressed, for example with gdcmconv --raw",
        )
    if header.transfer_syntax:
        gain = _RLE_GAIN if header.transfer_syntax == _RLE else _MOST_PIXELS
        fits = rows * columns <= min(_MOST_PIXELS, gain * held) and n_frames <= held
    else:
        fits = store.n_bytes <= held
    if not fits:
        raise ReadError(
            found=f"{path} announces {n_frames} frames of {rows} x {columns} pixels, "
            f"and holds {held} bytes of them",
            needed="a whole file",
            do="copy or export the file again",
        )
    return store


def _described(dataset: "Dataset") -> Segments:
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


def _segment_numbers(
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


_Frames = list[tuple[int, int]]  # plane and segment of each frame


def _label_map(
    store: FrameStore,
    grid: Geometry,
    frames: _Frames,
    described: Segments,
    padding: int,
    notes: list[str],
) -> _Found:
    pixels = SegmentPixels(
        store=store,
        shape=(1, *grid.shape),
        dtype=np.dtype(np.uint16 if store.bits == 16 else np.uint8),
        planes={plane: ((0, 0, frame),) for frame, (plane, _) in enumerate(frames)},
        padding=padding,
    )
    kept = {key: name for key, name in described.names.items() if key != padding}
    return _Found(
        pixels=pixels,
        geometry=grid,
        channels=("labels",),
        segments=Segments(names=kept, colors=described.colors),
        notes=tuple(notes),
    )


def _binary(
    store: FrameStore,
    grid: Geometry,
    frames: _Frames,
    described: Segments,
    notes: list[str],
) -> _Found:
    """One label map, unless segments overlap."""
    planes: dict[int, tuple[tuple[int, int, int], ...]] = {}
    for frame, (plane, number) in enumerate(frames):
        planes[plane] = (*planes.get(plane, ()), (0, number, frame))
    pixels = SegmentPixels(
        store=store,
        shape=(1, *grid.shape),
        dtype=np.min_scalar_type(max(number for _, number in frames)),
        planes=planes,
    )
    if pixels.has_overlap():
        notes.append("segments overlap: one channel a segment")
        return _stacked(store, grid, frames, described, None, notes)
    return _Found(
        pixels=pixels,
        geometry=grid,
        channels=("labels",),
        segments=described,
        notes=tuple(notes),
    )


def _stacked(
    store: FrameStore,
    grid: Geometry,
    frames: _Frames,
    described: Segments,
    scale: float | None,
    notes: list[str],
) -> _Found:
    """One channel a segment: 0 and 1, or fractions of `scale`."""
    channel_of = {number: index for index, number in enumerate(sorted(described.names))}
    planes: dict[int, tuple[tuple[int, int, int], ...]] = {}
    for frame, (plane, number) in enumerate(frames):
        entry = (channel_of[number], 0 if scale else 1, frame)
        planes[plane] = (*planes.get(plane, ()), entry)
    pixels = SegmentPixels(
        store=store,
        shape=(len(channel_of), *grid.shape),
        dtype=np.dtype(np.float32 if scale else np.uint8),
        planes=planes,
        scale=scale or 1.0,
    )
    return _Found(
        pixels=pixels,
        geometry=grid,
        channels=tuple(described.names[number] for number in channel_of),
        segments=None,
        notes=tuple(notes),
    )


def _volume(found: _Found, address: Address, path: Path) -> Volume:
    transform = canonical_transform(found.geometry)
    stat = path.stat()
    token = tokenize(str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    pixels = found.pixels
    chunks = slab_chunks(pixels.shape, pixels.dtype.itemsize)
    return Volume(
        levels=(oriented(pixels, chunks, transform, f"dicom-seg-{token}"),),
        geometry=transform.apply_geometry(found.geometry),
        channels=found.channels,
        source=Source(
            uri=str(address),
            format="dicom-seg",
            geometry=found.geometry,
            transform=transform,
            dtype=pixels.dtype,
        ),
        notes=found.notes,
        segments=found.segments,
    )
