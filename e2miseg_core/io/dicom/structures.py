"""What a structure set says: names, colours, contours, and the images it is of."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.dicom.kinds import STRUCTURE_SET_CLASS
from e2miseg_core.io.dicom.placement import to_ras

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "References",
    "Structure",
    "read_structures",
    "references",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Structure:
    """One region of interest.

    Attributes
    ----------
    number : int
        ROI number.
    name : str
        ROI name.
    color : tuple of int or None
        Red, green, blue from 0 to 255.
    contours : list of ndarray, shape (n, 3)
        Corners of closed planar contours, RAS+ mm.
    n_skipped : int
        Points, lines and contours of less than three corners.
    """

    number: int
    name: str
    color: tuple[int, int, int] | None
    contours: list[NDArray[np.float64]]
    n_skipped: int


@dataclass(frozen=True, eq=False, kw_only=True)
class References:
    """UIDs of what the contours were drawn on."""

    series: frozenset[str]
    instances: frozenset[str]
    frames: frozenset[str]


def references(dataset: "Dataset") -> References:
    """Collect the UIDs by which the images of a structure set are found."""
    series, instances, frames = set(), set(), set()
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        frames.add(str(frame.get("FrameOfReferenceUID", "")))
        for study in frame.get("RTReferencedStudySequence") or []:
            for one in study.get("RTReferencedSeriesSequence") or []:
                series.add(str(one.get("SeriesInstanceUID", "")))
                for image in one.get("ContourImageSequence") or []:
                    instances.add(str(image.get("ReferencedSOPInstanceUID", "")))
    return References(
        series=frozenset(series - {""}),
        instances=frozenset(instances - {""}),
        frames=frozenset(frames - {""}),
    )


def read_structures(dataset: "Dataset", path: Path) -> list[Structure]:
    """Read all contours of a structure set.

    Raises
    ------
    ReadError
        If it is none, or a contour has not the points that it announces.
    """
    if dataset.get("SOPClassUID") != STRUCTURE_SET_CLASS:
        raise ReadError(
            found=f"{path} is DICOM, but no structure set",
            needed="an RTSTRUCT file",
            do="open it as an image, or choose another file",
        )
    drawn = {
        int(item.get("ReferencedROINumber") or 0): item
        for item in dataset.get("ROIContourSequence") or []
    }
    found = []
    for region in dataset.get("StructureSetROISequence") or []:
        number = int(region.get("ROINumber") or 0)
        item = drawn.get(number)
        contours, n_skipped = _contours(item, path)
        color = item.get("ROIDisplayColor") if item is not None else None
        rgb = [min(max(int(part), 0), 255) for part in color or []]
        found.append(
            Structure(
                number=number,
                name=str(region.get("ROIName") or f"ROI {number}"),
                color=(rgb[0], rgb[1], rgb[2]) if len(rgb) == 3 else None,
                contours=contours,
                n_skipped=n_skipped,
            )
        )
    if not any(one.contours for one in found):
        raise ReadError(
            found=f"{path} has {len(found)} structures without a closed contour",
            needed="closed planar contours",
            do="export the structure set with its contours",
        )
    return found


def _contours(
    item: "Dataset | None", path: Path
) -> tuple[list[NDArray[np.float64]], int]:
    contours, n_skipped = [], 0
    for one in (item.get("ContourSequence") if item is not None else None) or []:
        if not str(one.get("ContourGeometricType", "")).startswith("CLOSED_PLANAR"):
            n_skipped += 1
            continue
        points = _points(one)
        stated = one.get("NumberOfContourPoints")
        whole = points.size % 3 == 0 and bool(np.all(np.isfinite(points)))
        if not whole or (stated is not None and int(stated) * 3 != points.size):
            raise ReadError(
                found=f"{path} has a contour of {points.size} coordinates for "
                f"{stated} points",
                needed="three finite coordinates for each point",
                do="export the structure set again",
            )
        if points.size < 9:
            n_skipped += 1
            continue
        contours.append(to_ras(points.reshape(-1, 3)))
    return contours, n_skipped


def _points(contour: "Dataset") -> NDArray[np.float64]:
    """Parse the coordinates at once: there may be millions."""
    element = contour.get_item("ContourData")
    value = getattr(element, "value", None) or b""
    if isinstance(value, bytes):
        return np.array(value.rstrip(b" \0").split(b"\\")).astype(np.float64)
    return np.array([float(part) for part in value], dtype=np.float64)
