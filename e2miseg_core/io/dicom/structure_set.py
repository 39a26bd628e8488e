"""RTSTRUCT: contours as labels on the grid of the series that they were drawn on.

- A voxel belongs to a structure if its centre is inside (`contours` has the details).
- A contour belongs to the nearest plane, within half a distance of planes. Contours of
  one depth are combined by exclusive or, so an inner one is a hole; of several depths
  that are nearest to one plane, the nearest counts.
- Structures that share no voxel become one label map whose values are ROI numbers, with
  names and colours; others one channel each, 0 and 1.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from e2miseg_core.errors import GeometryError
from e2miseg_core.geometry import AxisTransform, Geometry
from e2miseg_core.io.address import Address
from e2miseg_core.io.dicom.contours import ContourPixels, PlaneContours
from e2miseg_core.io.dicom.segment_file import damage_told, read_dataset
from e2miseg_core.io.dicom.structures import (
    Structure,
    read_structures,
    references,
)
from e2miseg_core.io.lazy import oriented, slab_chunks
from e2miseg_core.volume import Segments, Source, Volume

__all__ = ["open_structure_set", "read_structure_set"]

_FLAT = 0.5  # planes: a contour that spans more is in no plane
_SAME_DEPTH = 0.01  # planes
_DECIMALS = 5  # of a voxel: what is beyond is rounding of the text


def open_structure_set(path: str | Path, like: Volume) -> Volume:
    """Open contours on the grid of a volume.

    Parameters
    ----------
    path : str or Path
        RTSTRUCT file.
    like : Volume
        In the same patient coordinates, which is not checked.

    Returns
    -------
    Volume
        Labels on the grid of `like`.

    Raises
    ------
    ReadError
        If the file is damaged, no structure set, or has no closed contour.
    GeometryError
        If no contour lies on the volume.
    """
    place = Path(path).expanduser()
    with damage_told(place):
        structures = read_structures(read_dataset(place).dataset, place)
    return structures_on(structures, Address(str(place)), like)


def read_structure_set(address: Address) -> Volume:
    """Open contours on the grid of the series that they refer to.

    Parameters
    ----------
    address : Address
        Of an RTSTRUCT file; the series is looked for in its folder and beside it.

    Raises
    ------
    ReadError
        As for `open_structure_set`, and if the series is not there.
    GeometryError
        If no contour lies on the series.
    """
    from e2miseg_core.io.dicom.structure_images import open_referenced

    path = address.path
    with damage_told(path):
        dataset = read_dataset(path).dataset
        structures, wanted = read_structures(dataset, path), references(dataset)
    like, notes = open_referenced(path, wanted)
    volume = structures_on(structures, address, like)
    return replace(volume, notes=(*notes, *volume.notes))


def structures_on(
    structures: Sequence[Structure], address: Address, like: Volume
) -> Volume:
    """Lay contours on the grid of a volume, as labels or as one channel each."""
    stored = like.geometry if like.source is None else like.source.geometry
    stack = _stacking(structures, stored.in_unit("mm"))
    grid = stack.apply_geometry(stored)
    placed = [_planes_of(one, grid.in_unit("mm")) for one in structures]
    if not any(planes for planes, _, _ in placed):
        raise GeometryError(
            found=f"no contour of {address.place} lies in a plane of the volume",
            needed="the volume that they were drawn on, or one on its planes",
            do="name the right series",
        )
    numbers, notes = _numbers(structures)
    notes += _notes(structures, placed)
    segments = _segments(structures, numbers)
    pixels = _one_map(placed, numbers, grid.shape)
    channels: tuple[str, ...] = ("labels",)
    if pixels.has_overlap():
        notes.append("structures overlap: one channel each")
        pixels = _one_channel_each(pixels, numbers)
        segments = segments.stacked()
        channels = tuple(segments.of_channel(k).names[1] for k in range(len(numbers)))
    return _volume(pixels, channels, segments, stack, address, like, notes)


def _segments(structures: Sequence[Structure], numbers: Sequence[int]) -> Segments:
    named = dict(zip(numbers, structures, strict=True))
    return Segments(
        names={number: one.name for number, one in named.items()},
        colors={
            number: one.color for number, one in named.items() if one.color is not None
        },
    )


def _one_map(
    placed: Sequence["_Placed"], numbers: Sequence[int], shape: tuple[int, int, int]
) -> ContourPixels:
    """Give the voxels of each structure its number."""
    planes: dict[int, list[PlaneContours]] = defaultdict(list)
    for number, (found, _, _) in zip(numbers, placed, strict=True):
        for plane, polygons in found.items():
            entry = PlaneContours(channel=0, value=number, polygons=polygons)
            planes[plane].append(entry)
    return ContourPixels(
        shape=(1, *shape),
        dtype=np.min_scalar_type(max(numbers)),
        planes={plane: tuple(found) for plane, found in planes.items()},
    )


def _one_channel_each(pixels: ContourPixels, numbers: Sequence[int]) -> ContourPixels:
    """Give each structure a channel of 0 and 1, by ascending number."""
    channel_of = {number: channel for channel, number in enumerate(sorted(numbers))}
    return ContourPixels(
        shape=(len(numbers), *pixels.shape[1:]),
        dtype=np.dtype(np.uint8),
        planes={
            plane: tuple(
                replace(one, channel=channel_of[one.value], value=1) for one in found
            )
            for plane, found in pixels.planes.items()
        },
    )


def _stacking(structures: Sequence[Structure], stored: Geometry) -> AxisTransform:
    """Bring the axis first along which the contours are flat."""
    spreads = [
        np.ptp(stored.voxel(contour), axis=0)
        for one in structures
        for contour in one.contours
    ]
    axis = int(np.argmin(np.median(spreads, axis=0)))
    rest = [other for other in range(3) if other != axis]
    return AxisTransform(permutation=(axis, rest[0], rest[1]))


def _numbers(structures: Sequence[Structure]) -> tuple[list[int], list[str]]:
    numbers = [one.number for one in structures]
    if len(set(numbers)) == len(numbers) and 1 <= min(numbers) <= max(numbers) <= 65535:
        return numbers, []
    return [*range(1, len(numbers) + 1)], ["ROI numbers unusable: counted from 1"]


_Placed = tuple[dict[int, list[NDArray[np.float64]]], int, int]


def _planes_of(structure: Structure, grid: Geometry) -> _Placed:
    """Assign contours to planes; also how many lie outside, and how many yield."""
    by_plane: dict[int, list[tuple[float, NDArray[np.float64]]]] = defaultdict(list)
    outside = 0
    for contour in structure.contours:
        corners = grid.voxel(contour).round(_DECIMALS)  # (n, 3)
        depth = float(corners[:, 0].mean())
        plane = int(np.floor(depth + 0.5))
        if np.ptp(corners[:, 0]) > _FLAT or not 0 <= plane < grid.shape[0]:
            outside += 1
        else:
            by_plane[plane].append((depth, corners[:, 1:]))
    planes, yielded = {}, 0
    for plane, found in by_plane.items():
        nearest = min((depth for depth, _ in found), key=lambda d: (abs(d - plane), d))
        planes[plane] = [
            corners for depth, corners in found if abs(depth - nearest) <= _SAME_DEPTH
        ]
        yielded += len(found) - len(planes[plane])
    return planes, outside, yielded


def _notes(structures: Sequence[Structure], placed: Sequence[_Placed]) -> list[str]:
    """Say what was left out, in numbers."""
    counts = {
        "points, lines or contours of less than three points": sum(
            one.n_skipped for one in structures
        ),
        "contours outside the planes or across them": sum(out for _, out, _ in placed),
        "contours nearer to a plane's edge than another of that plane": sum(
            less for _, _, less in placed
        ),
    }
    return [f"{count} {what} left out" for what, count in counts.items() if count]


def _volume(
    pixels: ContourPixels,
    channels: tuple[str, ...],
    segments: Segments | None,
    stack: AxisTransform,
    address: Address,
    like: Volume,
    notes: Sequence[str],
) -> Volume:
    stored = like.geometry if like.source is None else like.source.geometry
    turned = AxisTransform() if like.source is None else like.source.transform
    grid = stack.apply_geometry(stored)
    transform = AxisTransform(
        permutation=_three(
            stack.permutation.index(axis) for axis in turned.permutation
        ),
        flips=turned.flips,
    )
    stat = address.path.stat()
    token = tokenize(
        str(address.path.resolve()), stat.st_mtime_ns, stat.st_size, grid.to_json()
    )
    chunks = slab_chunks(pixels.shape, pixels.dtype.itemsize)
    images = {} if like.source is None else like.source.details
    return Volume(
        levels=(oriented(pixels, chunks, transform, f"rtstruct-{token}"),),
        geometry=like.geometry,
        channels=channels,
        source=Source(
            uri=str(address),
            format="rtstruct",
            geometry=grid,
            transform=transform,
            dtype=pixels.dtype,
            # The images of the planes, for a segmentation that refers to them.
            details={
                key: images[key]
                for key in ("planes",)
                if key in images and stack.is_identity
            },
        ),
        notes=tuple(notes),
        segments=segments,
    )


def _three(axes: Iterable[int]) -> tuple[int, int, int]:
    z, y, x = axes
    return z, y, x
