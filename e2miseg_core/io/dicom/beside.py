"""What else lies in a folder, beside the series that was opened."""

from e2miseg_core.io.dicom.scan import FolderScan
from e2miseg_core.io.dicom.series import DicomSeries

__all__ = ["notes_beside"]

_NAMES = {"seg": "segmentation", "rtstruct": "RTSTRUCT", "dose": "dose"}
_LISTED = 4


def notes_beside(found: FolderScan, series: DicomSeries) -> list[str]:
    """Tell of segmentations, contours, doses and patients that were not opened.

    Parameters
    ----------
    found : FolderScan
        All that is there.
    series : DicomSeries
        That was opened.
    """
    told = []
    for kind, name in _NAMES.items():
        numbers = [
            each.number
            for each in found.series
            if each.kind == kind and each.number != series.number
        ]
        if not numbers:
            continue
        parts = ", ".join(f"#part={number}" for number in numbers[:_LISTED])
        more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
        plural = "s" if len(numbers) > 1 else ""
        told.append(f"{len(numbers)} {name}{plural} ({parts}{more})")
    notes = [f"also here: {', '.join(told)}"] if told else []
    owners = sorted({each.owner for each in found.series if each.owner})
    if owners:
        kinds = "patients" if owners[0].startswith("patient") else "studies"
        notes.append(
            f"{len(owners)} {kinds} lie in this folder: this is of {series.owner}"
        )
    return notes
