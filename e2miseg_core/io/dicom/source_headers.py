"""Headers of a series, made fit for an object that is derived from it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["complete_headers"]

# Type 2 tags that highdicom copies: they must be there, and may be empty.
_COPIED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
_COMMON_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def complete_headers(images: Sequence["Dataset"]) -> None:
    """Add to headers, in place, what a series must have and this one has not.

    UIDs that were blanked come from the file's meta header, where they stand twice, or
    are made anew, the same for all.
    """
    from pydicom.uid import generate_uid

    new = {keyword: generate_uid() for keyword in _COMMON_UIDS}
    for image in images:
        _tidy(image)
        for keyword, uid in new.items():
            if not image.get(keyword):
                setattr(image, keyword, uid)
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            if not image.get(keyword):
                meta = image.file_meta[f"MediaStorage{keyword}"]
                setattr(image, keyword, meta.value)


def _tidy(image: "Dataset") -> None:
    """Empty what may be empty and breaks the rules of its type."""
    from pydicom.valuerep import DA, TM

    kinds = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
    for keyword in _COPIED:
        if keyword not in image:
            setattr(image, keyword, "")
    if image.PatientSex not in ("M", "F", "O"):
        image.PatientSex = ""
    for keyword, kind in kinds.items():
        try:
            kind(str(image[keyword].value or ""))
        except ValueError:
            setattr(image, keyword, "")
