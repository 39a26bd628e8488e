"""The grid on which the frames of a segmentation lie, from their own places alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import GeometryError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.dicom.placement import plane_affine

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["FramePlaces", "frame_places", "grid_of_frames"]

_SAME_PLANE = 1e-3  # of the pixel spacing: nearer frames lie in one plane
_EVEN = 0.1  # of the step: positions are often rounded to 0.1 mm, as for series
_SILENT = 0.01  # of the step: rounding that nobody needs to hear of
_MOST_PLANES = 1 << 16


@dataclass(frozen=True, eq=False, kw_only=True)
class FramePlaces:
    """Where frames lie, in millimetres on DICOM's patient axes (L, P, S).

    Attributes
    ----------
    positions : ndarray, shape (frames, 3)
        Of the centre of each frame's first pixel.
    orientation : ndarray, shape (2, 3)
        Unit vectors along a row (growing column) and along a column.
    spacing : tuple of float
        Distance of rows, then of columns.
    between, thickness : float
        Distance of planes, and their thickness, as stated; 0 if they are not.
    segments : tuple of int
        Segment of each frame; 0 for frames that hold labels.
    """

    positions: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: tuple[float, float]
    between: float
    thickness: float
    segments: tuple[int, ...]


def frame_places(dataset: "Dataset", n_frames: int, path: Path) -> FramePlaces:
    """Read the functional groups.

    Raises
    ------
    ReadError
        If some are missing, or there are more frames than groups.
    GeometryError
        If frames differ in orientation or spacing.
    """
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(each) != n_frames and not (n_frames == 1 and not each):
        raise ReadError(
            found=f"{path} announces {n_frames} frames and describes {len(each)}",
            needed="a description of each frame",
            do="export the segmentation again",
        )
    positions, turns, sizes, segments = [], set(), set(), []
    for frame in each or [{}]:
        plane = _group(frame, shared, "PlanePositionSequence", path)
        positions.append(_numbers(plane, "ImagePositionPatient", 3, path))
        turn = _group(frame, shared, "PlaneOrientationSequence", path)
        turns.add(_numbers(turn, "ImageOrientationPatient", 6, path))
        sizes.add(_sizes(_group(frame, shared, "PixelMeasuresSequence", path), path))
        segments.append(_segment(frame, shared))
    if len(turns) > 1 or len(sizes) > 1:
        raise GeometryError(
            found=f"{path} has frames of several orientations or spacings",
            needed="one grid for all frames",
            do="export one segmentation for each grid",
        )
    row_step, column_step, between, thickness = sizes.pop()
    return FramePlaces(
        positions=np.asarray(positions, dtype=np.float64),
        orientation=_unit_vectors(turns.pop(), path),
        spacing=(row_step, column_step),
        between=between,
        thickness=thickness,
        segments=tuple(segments),
    )


def _sizes(measures: Any, path: Path) -> tuple[float, float, float, float]:
    """Distances of rows, columns and planes, and thickness; 0 for what is not there."""
    row_step, column_step = _numbers(measures, "PixelSpacing", 2, path)
    if min(row_step, column_step) <= 0:
        raise GeometryError(
            found=f"{path} has pixels of {row_step} x {column_step} mm",
            needed="sizes above 0",
            do="correct the pixel spacing",
        )
    between, thickness = (
        abs(float(measures.get(keyword) or 0))
        for keyword in ("SpacingBetweenSlices", "SliceThickness")
    )
    return row_step, column_step, between, thickness


def _group(frame: Any, shared: Any, keyword: str, path: Path) -> Any:
    found = frame.get(keyword) or shared.get(keyword)
    if not found:
        raise ReadError(
            found=f"{path} has a frame without {keyword}",
            needed="functional groups that place each frame in the patient",
            do="export the segmentation again, from a series in patient coordinates",
        )
    return found[0]


def _numbers(group: Any, keyword: str, count: int, path: Path) -> tuple[float, ...]:
    values = group.get(keyword)
    numbers = tuple(float(value) for value in values) if values else ()
    if len(numbers) != count or not np.all(np.isfinite(numbers)):
        raise ReadError(
            found=f"{path} has a frame with {keyword} {list(numbers)}",
            needed=f"{count} finite numbers",
            do="export the segmentation again",
        )
    return numbers


def _segment(frame: Any, shared: Any) -> int:
    found = frame.get("SegmentIdentificationSequence") or shared.get(
        "SegmentIdentificationSequence"
    )
    return int(found[0].get("ReferencedSegmentNumber") or 0) if found else 0


def _unit_vectors(turn: Sequence[float], path: Path) -> NDArray[np.float64]:
    vectors = np.asarray(turn, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(float(vectors[0] @ vectors[1])) > 0.01:
        raise GeometryError(
            found=f"{path} has the orientation {list(turn)}",
            needed="two unit vectors at right angles",
            do="correct the orientation",
        )
    return vectors


def grid_of_frames(
    places: FramePlaces, rows: int, columns: int, path: Path
) -> tuple[Geometry, NDArray[np.int64], list[str]]:
    """Find the even grid that holds all frames.

    Planes grow along the normal (row x column). Where frames are left out, the grid
    has empty planes.

    Returns
    -------
    Geometry
        Of planes, rows, columns.
    ndarray, shape (frames,)
        Plane of each frame.
    list of str
        Rules that were applied.

    Raises
    ------
    GeometryError
        If the planes are not stacked, or their distances are no multiples of a step.
    """
    notes: list[str] = []
    order, planes = _numbered(places, path)
    last = int(planes.max())
    origin = places.positions[order[0]]
    if last:
        step = (places.positions[order[-1]] - origin) / last
    else:
        step = _stated_step(places, notes)
    notes += _notes_of(places, planes, origin, step, path)
    affine = plane_affine(origin, step, places.orientation, places.spacing)
    return Geometry(shape=(last + 1, rows, columns), affine=affine), planes, notes


def _numbered(
    places: FramePlaces, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort frames along the normal, and tell the plane of each."""
    depths = places.positions @ np.cross(*places.orientation)
    order = np.argsort(depths, kind="stable")
    gaps = np.diff(depths[order])
    gaps[gaps < _SAME_PLANE * min(places.spacing)] = 0
    planes = np.zeros(len(depths), dtype=np.int64)
    planes[order[1:]] = np.cumsum(_steps(gaps, places.between, path))
    return order, planes


def _stated_step(places: FramePlaces, notes: list[str]) -> NDArray[np.float64]:
    """From plane to plane, where there is only one."""
    if not places.between and not places.thickness:
        notes.append("distance of planes not stated: taken as 1 mm")
    length = places.between or places.thickness or 1.0
    return np.asarray(np.cross(*places.orientation) * length)


def _notes_of(
    places: FramePlaces,
    planes: NDArray[np.int64],
    origin: NDArray[np.float64],
    step: NDArray[np.float64],
    path: Path,
) -> list[str]:
    """Compare the frames with the grid, and say what is not as it should be."""
    notes = []
    off = float(np.abs(places.positions - origin - planes[:, None] * step).max())
    length = float(np.linalg.norm(step))
    if off > _EVEN * length:
        raise GeometryError(
            found=f"{path} has frames that lie up to {off:.6g} mm beside each other "
            "(tiles, or a curved stack)",
            needed="parallel planes, one above the other",
            do="export the segmentation as one stack",
        )
    if off > _SILENT * length:
        notes.append(
            f"planes are unevenly spaced: taken as {length:.5g} mm apart, at most "
            f"{off:.2g} mm from the true place"
        )
    count = int(planes.max()) + 1
    if empty := count - len(np.unique(planes)):
        notes.append(f"{empty} of {count} planes have no frame: filled with 0")
    return notes


def _steps(gaps: NDArray[np.float64], stated: float, path: Path) -> NDArray[np.int64]:
    """Tell how many planes lie between neighbouring frames."""
    real = gaps[gaps > 0]
    if not len(real):
        return np.zeros(len(gaps), dtype=np.int64)
    nearest = float(real[real < 1.5 * real.min()].mean())  # of neighbouring planes
    for step in (stated, nearest):
        if step <= 0 or gaps.sum() / step > _MOST_PLANES:
            continue
        counts = np.rint(gaps / step).astype(np.int64)
        if counts[gaps > 0].min() < 1:
            continue  # more is stated than there is between two frames
        fine = float(gaps.sum() / counts.sum())
        off = np.abs(np.cumsum(gaps) - np.cumsum(counts) * fine).max()
        if off <= _EVEN * fine:
            return counts
    raise GeometryError(
        found=f"{path} has planes {real.min():.6g} to {real.max():.6g} mm apart, up to "
        f"{real.sum():.6g} mm",
        needed=f"multiples of one distance, and at most {_MOST_PLANES} planes",
        do="resample the segmentation to even planes first",
    )
