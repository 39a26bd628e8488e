"""The series that contours were drawn on, looked for where it usually lies.

In the folder of the file and the folders in it, then in the folders beside it; never
more than 20,000 files. Images are told by their own UIDs, else by that of their series,
else by that of the frame of reference. Segmentations and doses are no such images:
contours are never drawn on their grids.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from e2miseg_core.errors import ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.dicom.header import Header, read_header
from e2miseg_core.io.dicom.reading import open_series
from e2miseg_core.io.dicom.scan import DicomSeries, scan
from e2miseg_core.io.dicom.series import kind_of
from e2miseg_core.io.dicom.structures import References
from e2miseg_core.volume import Volume

__all__ = ["open_referenced"]

_MOST_FILES = 20_000
_DEPTH = 2  # folders in folders
_DOSE = "RTDOSE"


def open_referenced(path: Path, wanted: References) -> tuple[Volume, list[str]]:
    """Open the series that a structure set refers to.

    Parameters
    ----------
    path : Path
        Of the structure set.
    wanted : References
        Of the images.

    Returns
    -------
    Volume
        The series.
    list of str
        By what it was found, where not by the images themselves.

    Raises
    ------
    ReadError
        If it is not there.
    """
    same_space: tuple[Path, Header] | None = None
    for file in islice(_files(path), _MOST_FILES):
        header = _image_header(file)
        if header is None:
            continue
        is_meant = header.instance.sop_uid in wanted.instances
        if is_meant or header.series_uid in wanted.series:
            return _open(file.parent, header, wanted), []
        if same_space is None and header.reference_uid in wanted.frames:
            same_space = file.parent, header
    if same_space is not None:
        note = (
            "the images that the contours refer to are not there: laid on the grid of "
            "another series of the same patient coordinates"
        )
        return _open(*same_space, wanted), [note]
    raise _not_there(path)


def _not_there(path: Path) -> ReadError:
    return ReadError(
        found=f"the images that {path} refers to are not beside it",
        needed="their DICOM files in the same folder, or in one beside it",
        do="copy them there, or give a volume to open_structure_set(path, like=volume)",
    )


def _files(path: Path) -> Iterator[Path]:
    """Files of the folder, of those in it, and of those beside it."""
    yield from _below(path.parent, _DEPTH)
    yield from _below(path.parent.parent, _DEPTH, path.parent)


def _below(folder: Path, depth: int, passed: Path | None = None) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return  # a folder that may not be listed holds nothing for us
    yield from (entry for entry in entries if entry.is_file())
    for entry in entries:
        if depth and entry != passed and entry.is_dir() and not entry.is_symlink():
            yield from _below(entry, depth - 1)


def _image_header(file: Path) -> Header | None:
    """Read the header of an image; None where there is none or it is another object."""
    try:
        header = read_header(file)
    except (OSError, ValueError):
        return None
    if header is None or not header.instance.frames or kind_of(header) != "image":
        return None
    return None if header.modality == _DOSE else header


def _open(folder: Path, header: Header, wanted: References) -> Volume:
    """Open the part of a series that holds most of the images."""
    images = [
        series
        for series in scan(folder).series
        if series.kind == "image" and series.uid == header.series_uid
    ]

    def fit(series: DicomSeries) -> tuple[bool, int]:
        known = {instance.sop_uid for instance in series.instances}
        return series.problem is None, len(known & wanted.instances)

    if not images:  # the files have changed since their headers were read
        raise _not_there(folder)
    best = max(images, key=fit)
    return open_series(best, Address(str(folder), str(best.number)))
