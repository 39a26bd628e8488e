"""Which of the series of a folder is meant."""

from collections.abc import Sequence

from e2miseg_core.errors import ChoiceError, ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.dicom.kinds import VALUE_MAP_CLASS
from e2miseg_core.io.dicom.scan import DicomSeries, FolderScan
from e2miseg_core.io.part_key import split_key

__all__ = ["choose_series"]

_LISTED = 20


def choose_series(found: FolderScan, address: Address) -> DicomSeries:
    """Return the series of the address's part, or the only one that can be meant.

    Parameters
    ----------
    found : FolderScan
        All that is there.
    address : Address
        Its part is a number, which another file may change; or ends in a key, which
        counts then.

    Raises
    ------
    ChoiceError
        If there are several images and no part.
    ReadError
        If there is none, or not the part.
    """
    if address.part:
        return _named(found.series, address)
    images = [each for each in found.series if each.kind != "other"]
    pictures = [each for each in images if each.kind == "image"]
    candidates = pictures or images
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        others = [each for each in images if each not in candidates]
        choices = [each.choice for each in (*candidates, *others)]
        raise ChoiceError.among(Address(address.place), "DICOM series", choices)
    instances = [instance for each in found.series for instance in each.instances]
    if len(instances) == 1 and instances[0].sop_class == VALUE_MAP_CLASS:
        raise ReadError(
            found=f"{instances[0].path} is a real-world value map, no image",
            needed="the series of images that it is for",
            do="open that",
        )
    damaged = f", but {found.n_damaged} damaged DICOM files" if found.n_damaged else ""
    raise ReadError(
        found=f"no DICOM image in {address.place}{damaged} ({found.n_files} files)",
        needed="a DICOM series",
        do="check the path, or copy the files again",
    )


def _named(series: Sequence[DicomSeries], address: Address) -> DicomSeries:
    number, key = split_key(address.part)
    for each in series:
        if each.key == key if key else str(each.number) == number:
            return each
    raise ReadError(
        found=f"no series {address.part} in {address.place}",
        needed=f"one of {_listing(series)}",
        do=f"choose one, as {address.place}#part=1",
    )


def _listing(series: Sequence[DicomSeries]) -> str:
    more = f"; and {len(series) - _LISTED} more" if len(series) > _LISTED else ""
    return "; ".join(str(each) for each in series[:_LISTED]) + more
