"""What a user should know of a series that was opened."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from e2miseg_core.io.dicom.dose import DOSE_KEY
from e2miseg_core.io.dicom.scan import FolderScan
from e2miseg_core.io.dicom.series import DicomSeries
from e2miseg_core.io.dicom.stack import MEASURED, Plane

__all__ = ["notes_on_files", "notes_on_values"]


def notes_on_files(found: FolderScan, series: DicomSeries) -> list[str]:
    """Say what was left out beside the series."""
    notes = []
    if found.n_damaged:
        notes.append(
            f"{found.n_damaged} DICOM files cannot be read (damaged, or without the "
            "right to) and are left out"
        )
    notes += [
        f"{_n_slices(other)} slices of this series lie elsewhere (#part={other.number})"
        for other in found.series
        if other.group == series.group
        and other.key != series.key
        and not any(instance.problem for instance in other.instances)
    ]
    is_slice = series.stack is not None and series.stack.geometry.shape[0] == 1
    if found.n_files == 1 and is_slice and series.modality in MEASURED:
        notes.append("this is one slice: open its folder for the whole series")
    return notes


def _n_slices(series: DicomSeries) -> int:
    if series.stack is None:
        return sum(len(instance.frames) for instance in series.instances)
    return sum(p is not None for moment in series.stack.planes for p in moment)


def notes_on_values(planes: Sequence[Plane], dtype: np.dtype[Any]) -> list[str]:
    """Say how stored values became those shown."""
    scales = {(plane.frame.slope, plane.frame.intercept) for plane in planes}
    notes = []
    if len(scales) > 1:
        slopes = [slope for slope, _ in scales]
        notes.append(
            f"each slice has its own rescale slope, {min(slopes):.6g} to "
            f"{max(slopes):.6g}: applied, as {dtype.name}"
        )
    elif (unit := planes[0].frame.keys.get(DOSE_KEY)) is not None:
        slope = planes[0].frame.slope
        notes.append(f"dose ({unit}): stored values by {slope:g}, as {dtype.name}")
    elif scales != {(1.0, 0.0)}:
        slope, intercept = next(iter(scales))
        notes.append(
            f"stored values rescaled by {slope:g} and {intercept:+g}, as {dtype.name}"
        )
    first = planes[0]
    photometric = (
        "" if first.instance.layout is None else first.instance.layout.photometric
    )
    if photometric == "MONOCHROME1":
        notes.append(
            "MONOCHROME1: low values are meant to look bright; values are not inverted"
        )
    elif photometric == "PALETTE COLOR":
        notes.append("PALETTE COLOR: values are indices of colours, not brightness")
    if first.header.padding is not None:
        real = first.header.padding * first.frame.slope + first.frame.intercept
        notes.append(f"voxels of the value {real:g} are padding outside the scan: kept")
    if first.header.has_lut:
        notes.append("the modality look-up table is not applied: values are as stored")
    if "moving picture" in first.frame.keys:
        notes.append("the frames are a moving picture: Z is time")
    if "views" in first.frame.keys:
        notes.append("the frames are no slices but several views: Z is their number")
    return notes
