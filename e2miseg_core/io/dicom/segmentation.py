"""DICOM segmentations (SEG): binary, fractional and label maps, on their own grid.

- Segments that share no voxel become one label map whose values are segment numbers,
  with names and colours; whether they do is looked up in the voxels. Only of a large
  file the header is believed, and what it hides is an error where it is read.
- Segments that overlap become one channel of labels each, 0 and 1.
- Fractional segments become one channel each, float32 from 0 to 1.
- A label map comes as it is; its pixel padding value is background.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dask.base import tokenize

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.dicom.kinds import SEGMENTATION_CLASSES
from e2miseg_core.io.dicom.segment_file import DicomHeader, damage_told, read_dataset
from e2miseg_core.io.dicom.segment_frames import FrameStore, SegmentPixels
from e2miseg_core.io.dicom.segment_grid import frame_places, grid_of_frames
from e2miseg_core.io.dicom.segment_header import (
    described_segments,
    frame_store,
    segment_of_frames,
)
from e2miseg_core.io.lazy import oriented, slab_chunks
from e2miseg_core.volume import Segments, Source, Volume

__all__ = ["read_segmentation"]

_MOST_COMPARED = 64 << 20  # bytes that are read to see whether the header lies


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
        header = read_dataset(path)
        found = _read(header, path)
    return _volume(found, address, path)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Found:
    """What a file holds; `segments` is None where voxels are fractions."""

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
    store = frame_store(header, path)
    places = frame_places(dataset, store.n_frames, path)
    grid, planes, notes = grid_of_frames(places, store.rows, store.columns, path)
    described = described_segments(dataset)
    kind = str(dataset.get("SegmentationType", ""))
    numbers = segment_of_frames(places.segments, described, kind, path)
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
    says_apart = str(dataset.get("SegmentsOverlap", "")) == "NO"
    return _binary(store, grid, frames, described, notes, says_apart=says_apart)


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
    *,
    says_apart: bool,
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
    is_trusted = says_apart and pixels.compared_bytes > _MOST_COMPARED
    if not is_trusted and pixels.has_overlap():
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
        segments=None if scale else described.stacked(),
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
