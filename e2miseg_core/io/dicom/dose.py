"""Dose distributions (RTDOSE): where their planes lie, and their scale.

Source: DICOM PS3.3 C.8.8.3, RT Dose Module.
"""

from collections.abc import Sequence
from dataclasses import replace

from e2miseg_core.io.dicom.frames import Frame, normal_of
from e2miseg_core.io.dicom.problem import Problem
from e2miseg_core.io.dicom.tags import Tags

__all__ = ["DOSE_KEY", "is_dose", "read_dose"]

DOSE_KEY = "dose unit"  # of the keys of a frame
_CLASS = "1.2.840.10008.5.1.4.1.1.481.2"
_UNITS = {"GY": "Gy", "RELATIVE": "relative"}
_SAME = 0.01  # mm
_AXIAL = 1e-3  # of a direction cosine


def is_dose(sop_class: str) -> bool:
    """Whether an object is a dose distribution."""
    return sop_class == _CLASS


def read_dose(
    tags: Tags, frames: Sequence[Frame]
) -> tuple[tuple[Frame, ...], Problem | None]:
    """Give the planes of a dose distribution their places and their scale.

    Parameters
    ----------
    tags : Tags
        Of the whole object.
    frames : sequence of Frame
        As many as there are, the first one where it lies.

    Returns
    -------
    tuple of Frame
        In Gy where the file says so; empty where there is a problem.
    Problem or None
        That the places or the scale are not stated.
    """
    scale = tags.number("DoseGridScaling")
    if scale is None or not scale > 0:
        return (), _unclear("is a dose without its scale (DoseGridScaling)")
    first = frames[0]
    if first.position is None or first.orientation is None:
        return (), _unclear("is a dose that does not say where it lies")
    offsets = _offsets(tags, first, len(frames))
    if isinstance(offsets, Problem):
        return (), offsets
    unit = _UNITS.get(tags.text("DoseUnits").upper(), "unknown unit")
    x, y, z = first.position
    a, b, c = normal_of(first.orientation)
    laid = tuple(
        replace(
            first,
            index=index,
            position=(x + offset * a, y + offset * b, z + offset * c),
            slope=scale,
            intercept=0.0,
            keys={"instance": float(index), DOSE_KEY: unit},
        )
        for index, offset in enumerate(offsets)
    )
    return laid, None


def _offsets(tags: Tags, first: Frame, count: int) -> Sequence[float] | Problem:
    """Distances of planes from the first one along its normal, mm."""
    if count == 1:
        return [0.0]
    stated = tags.numbers("GridFrameOffsetVector", count)
    if stated is None or len(stated) != count:
        return _unclear(
            f"is a dose of {count} planes that does not say where each lies "
            "(GridFrameOffsetVector)"
        )
    if stated[0] == 0:
        return stated
    # Else they are coordinates along the patient, which axial planes only may have.
    upwards = normal_of(first.orientation or ())[2]
    place = (first.position or (0.0, 0.0, 0.0))[2]
    if abs(abs(upwards) - 1) > _AXIAL or abs(stated[0] - place) > _SAME:
        return _unclear(
            f"is a dose whose GridFrameOffsetVector begins with {stated[0]:g}, which "
            f"is neither 0 nor the place of its first axial plane ({place:g})"
        )
    return [(value - stated[0]) / upwards for value in stated]


def _unclear(found: str) -> Problem:
    return Problem(
        found=found,
        kind="unclear doses",
        needed="the place of each plane and the scale of the dose",
        do="export the dose again",
    )
