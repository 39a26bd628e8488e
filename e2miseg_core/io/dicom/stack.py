"""Where the planes of a stack lie: sorted by position, never by name or number.

Positions are compared along the common normal of the planes. What is not evenly spaced
is never squeezed onto an even grid: a few missing planes stay empty at their places,
any other gap splits the stack or is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import E2MISegError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.dicom.frames import Frame, normal_of
from e2miseg_core.io.dicom.header import Header, Instance
from e2miseg_core.io.dicom.placement import plane_affine
from e2miseg_core.io.dicom.spacing import (
    EVEN,
    LARGEST_GAPS,
    find_even_runs,
    is_even,
    number_with_gaps,
    unevenness,
)

__all__ = ["MEASURED", "Plane", "Stack", "distances", "lay_stacks"]

_SILENT = 0.01  # of the spacing: rounding that nobody needs to hear of
_TILT_DEGREES = 0.05
_UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
MEASURED = frozenset({"CT", "MR", "PT"})


@dataclass(frozen=True, slots=True)
class Plane:
    """A frame and the header of its file."""

    header: Header = field(repr=False)
    frame: Frame

    @property
    def instance(self) -> Instance:
        """The object that holds the frame."""
        return self.header.instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Planes on one grid.

    Attributes
    ----------
    planes : tuple of tuples of (Plane or None)
        For each moment, along Z; None where a plane is missing.
    geometry : Geometry
        On the stored axes: Z along the stack, Y down the columns, X along the rows.
    channels : tuple of str
        One name a moment; empty for a single one.
    notes : tuple of str
        What was found and done.
    doubled : tuple of pairs of Plane
        At the same position; only the first is used, if they are equal.
    reason : str
        Why it is a part of its own, or what it lacks; empty for a whole series.
    is_placed : bool
        Whether the planes say where they lie.
    """

    planes: tuple[tuple[Plane | None, ...], ...]
    geometry: Geometry
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubled: tuple[tuple[Plane, Plane], ...] = ()
    reason: str = ""
    is_placed: bool = True


def distances(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """Distance of each plane along the normal of the first, mm."""
    normal = np.array(normal_of(planes[0].frame.orientation or _UPRIGHT))
    places = np.array([plane.frame.position or (0, 0, 0) for plane in planes])
    return np.asarray(places @ normal)


def lay_stacks(planes: Sequence[Plane]) -> list[Stack | E2MISegError]:
    """Lay planes at different positions on one grid, or on several.

    Parameters
    ----------
    planes : sequence of Plane
        Of one orientation and size, in any order.

    Returns
    -------
    list of (Stack or E2MISegError)
        Several where the spacing changes along the stack; an error where no grid
        describes the positions.
    """
    if any(p.frame.position is None or p.frame.orientation is None for p in planes):
        return [_unplaced(planes)]
    order = np.argsort(distances(planes), kind="stable")
    rising = [planes[index] for index in order]
    places = np.array([plane.frame.position for plane in rising], dtype=np.float64)
    if len(rising) == 1:
        return [_laid(rising, [0], None)]
    if is_even(places, np.arange(len(rising))):
        return [_laid(rising, np.arange(len(rising)), places)]
    indices = number_with_gaps(places, distances(rising))
    if indices is not None:
        return [_laid(rising, indices, places)]
    runs = find_even_runs(distances(rising), places)
    if runs is None:
        return [_uneven(rising)]
    parts = [_laid(rising[a:b], np.arange(b - a), places[a:b]) for a, b in runs]
    return [
        _told(part, f"the spacing changes: run {number} of {len(parts)}")
        for number, part in enumerate(parts, 1)
    ]


def _told(part: Stack | E2MISegError, note: str) -> Stack | E2MISegError:
    if not isinstance(part, Stack):
        return part
    reason = f"{note}, {part.geometry.spacing[0]:.5g} mm apart"
    return replace(part, notes=(note, *part.notes), reason=reason)


def _laid(
    rising: Sequence[Plane],
    indices: Sequence[int] | NDArray[np.int64],
    places: NDArray[np.float64] | None,
) -> Stack | E2MISegError:
    first = rising[0].frame
    notes: list[str] = []
    normal = np.array(normal_of(first.orientation or ()))
    if places is None:
        step = normal * (first.between or 1.0)
        if first.between is None:
            notes.append("the distance of slices is not stated: taken as 1 mm")
    else:
        step = (places[-1] - places[0]) / indices[-1]
        notes += _notes_of(places, np.asarray(indices), normal)
    affine = plane_affine(
        first.position or (), step, first.orientation or (), _pixel_size(first, notes)
    )
    held: list[Plane | None] = [None] * (int(indices[-1]) + 1)
    for index, plane in zip(indices, rising, strict=True):
        held[int(index)] = plane
    return _stack(held, rising[0], affine, notes)


def _stack(
    held: Sequence[Plane | None],
    first: Plane,
    affine: NDArray[np.float64],
    notes: Sequence[str],
) -> Stack | E2MISegError:
    layout = first.instance.layout
    shape = (len(held), layout.rows, layout.columns) if layout else (0, 0, 0)
    try:
        geometry = Geometry(shape=shape, affine=affine)
    except E2MISegError as error:
        return error
    return Stack(planes=(tuple(held),), geometry=geometry, notes=tuple(notes))


def _pixel_size(frame: Frame, notes: list[str]) -> tuple[float, float]:
    if frame.spacing is None:
        notes.append("the size of pixels is not stated: taken as 1 mm")
        return 1.0, 1.0
    return frame.spacing


def _notes_of(
    places: NDArray[np.float64],
    indices: NDArray[np.int64],
    normal: NDArray[np.float64],
) -> list[str]:
    """Say what is not as it should be, with numbers."""
    notes = []
    step = (places[-1] - places[0]) / indices[-1]
    length = float(np.linalg.norm(step))
    missing = sorted(set(range(int(indices[-1]) + 1)) - set(indices.tolist()))
    if missing:
        listed = ", ".join(str(index) for index in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        notes.append(
            f"{len(missing)} of {indices[-1] + 1} slices are missing (slice {listed}"
            f"{more} from 0 in the order of positions, {length:.5g} mm apart): they "
            "are shown empty at their true places, nothing was measured there"
        )
    uneven = unevenness(places, indices)
    if uneven > _SILENT:
        gaps = np.linalg.norm(np.diff(places, axis=0), axis=1) / np.diff(indices)
        notes.append(
            f"slices are {gaps.min():.5g} to {gaps.max():.5g} mm apart: taken as "
            f"{length:.5g} mm, at most {uneven * length:.2g} mm from the true place"
        )
    cosine = abs(float(step @ normal)) / length
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    if tilt > _TILT_DEGREES:
        notes.append(
            f"the slices are tilted against their stack by {tilt:.3g} degrees (gantry "
            "tilt): the shear is kept in the affine"
        )
    return notes


def _unplaced(planes: Sequence[Plane]) -> Stack | E2MISegError:
    """Lay planes without a position, which only some kinds of image may lack."""
    modality = planes[0].header.modality
    if len(planes) > 1 and modality in MEASURED:
        lacking = sum(
            p.frame.position is None or p.frame.orientation is None for p in planes
        )
        return ReadError(
            found=f"{lacking} of {len(planes)} {modality} slices do not say where they "
            "lie (ImagePositionPatient, ImageOrientationPatient)",
            needed="the position of each slice",
            do="export the series again with all tags of the image plane",
        )
    ordered = sorted(planes, key=lambda plane: (_number(plane), plane.frame.index))
    first = ordered[0].frame
    between = first.between or 1.0
    notes = [
        "the position in the patient is not stated: axes are taken as left, posterior, "
        "superior"
    ]
    if len(ordered) > 1:
        how = "as stated" if first.between else "not stated: taken as 1"
        notes.append(
            f"slices lie in the order of their numbers, {between:g} mm apart ({how})"
        )
    affine = plane_affine(
        (0, 0, 0), (0, 0, between), _UPRIGHT, _pixel_size(first, notes)
    )
    stack = _stack(ordered, ordered[0], affine, notes)
    if not isinstance(stack, Stack):
        return stack
    return replace(stack, reason="position not stated", is_placed=False)


def _number(plane: Plane) -> float:
    value = plane.frame.keys.get("instance", 0.0)
    return value if isinstance(value, float) else 0.0


def _uneven(rising: Sequence[Plane]) -> E2MISegError:
    gaps = np.diff(distances(rising))
    return ReadError(
        found=f"{len(rising)} slices that lie unevenly, {gaps.min():.5g} to "
        f"{gaps.max():.5g} mm apart along their normal",
        needed=f"one spacing, to within {EVEN:.0%}, with at most "
        f"{LARGEST_GAPS:.0%} of the slices missing",
        do="copy the whole series, or export it resampled to one spacing",
    )
