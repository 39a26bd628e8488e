"""Labels as a DICOM segmentation that refers to the series they were made on.

Values up to 255 become a binary segmentation, which every program reads; more become a
label map, which is new in DICOM. The patient's and the study's modules are copied from
the series, as the standard demands: the file belongs to the same study.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from e2miseg_core.errors import WriteError
from e2miseg_core.io.dicom.header import open_file
from e2miseg_core.io.dicom.quiet import quietly
from e2miseg_core.io.dicom.segment_file import damage_told
from e2miseg_core.io.dicom.segment_packing import PackedFrames, pack_frames
from e2miseg_core.io.dicom.segment_template import (
    SourceImage,
    make_frame,
    make_template,
)
from e2miseg_core.io.formats import known_suffixes
from e2miseg_core.io.plan import WritePlan

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["write_segmentation"]

_MOST_BYTES = (1 << 32) - 16  # what the length of pixel data can say
_SUFFIXES = (".dcm",)
_settings = threading.Lock()  # of pydicom belong to the whole process


def write_segmentation(plan: WritePlan, path: Path) -> int:
    """Write labels as one DICOM SEG file.

    Parameters
    ----------
    plan : WritePlan
        Labels on the grid of a DICOM series, whose files are still there.
    path : Path
        File to be made.

    Returns
    -------
    int
        CRC-32 of the voxels, in the order of `iter_slabs`.

    Raises
    ------
    WriteError
        If it is an image, the source is not DICOM, its files are gone or lack what the
        standard demands, or there are values above 65535.
    """
    _check(plan)
    headers = _headers(plan.details["planes"])
    is_binary = plan.dtype.itemsize == 1
    frames = pack_frames(plan.data, is_binary=is_binary)
    if len(frames.pixels) > _MOST_BYTES:
        raise _refused(found="more than 4 GiB of frames", needed="less")
    names = _segment_names(frames, plan.names, is_binary=is_binary)
    with _not_described():
        dataset = make_template(
            [*headers.values()],
            plan.geometry,
            names=names,
            colors=plan.colors,
            model=plan.model,
            bits=1 if is_binary else 16,
        )
        _fill(dataset, frames, plan, headers)
        dataset.save_as(path, enforce_file_format=True)
    return frames.checksum


def _fill(
    dataset: "Dataset",
    frames: PackedFrames,
    plan: WritePlan,
    headers: Mapping[str, "Dataset"],
) -> None:
    """Put frames into the template, each with the image that its plane was made on."""
    sources = [
        None if plane is None else _source(headers[plane[0]], plane[1])
        for plane in plan.details["planes"]
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        make_frame(plane, label, plan.geometry, sources[plane])
        for label, plane in frames.places
    ]
    dataset.NumberOfFrames = len(frames.places)
    dataset.PixelData = frames.pixels + b"\0" * (len(frames.pixels) % 2)


def _check(plan: WritePlan) -> None:
    if plan.kind != "labels":
        raise _refused(found="an image", needed="labels")
    if "planes" not in plan.details:  # of series, and of contours on them
        raise _refused(
            found=f"labels of an image that is no DICOM series ({plan.source_format})",
            needed="the series that a DICOM segmentation must refer to, as in "
            "`e2miseg convert --like FOLDER`",
        )
    if plan.dtype.itemsize > 2:
        raise _refused(found="values above 65535", needed="at most 65535 segments")


def _refused(*, found: str, needed: str) -> WriteError:
    others = [
        suffix for suffix in known_suffixes(writable=True) if suffix not in _SUFFIXES
    ]
    return WriteError(
        found=f"{found}, to be written as DICOM",
        needed=needed,
        do="choose another format: " + ", ".join(others),
    )


def _headers(planes: Sequence[tuple[str, int] | None]) -> dict[str, "Dataset"]:
    """Read the headers of a series, by path, in the order of the planes."""
    from pydicom import dcmread

    headers: dict[str, Dataset] = {}
    for path, _ in filter(None, planes):
        if path not in headers:
            with damage_told(Path(path)), open_file(Path(path)) as file:
                headers[path] = dcmread(file, stop_before_pixels=True, force=True)
    return headers


def _source(header: "Dataset", frame: int) -> SourceImage:
    return SourceImage(
        sop_class=str(header.SOPClassUID),
        sop_uid=str(header.SOPInstanceUID),
        frame=frame + 1 if "NumberOfFrames" in header else None,
    )


def _segment_names(
    frames: PackedFrames, names: Mapping[int, str], *, is_binary: bool
) -> dict[int, str]:
    """Name all segments, those without a voxel too.

    Segments of a binary segmentation count from 1 without gaps.
    """
    most = 255 if is_binary else 65535
    known = {*frames.labels, *(value for value in names if 1 <= value <= most)} or {1}
    numbers = range(1, max(known) + 1) if is_binary else sorted(known)
    return {number: names.get(number) or f"label {number}" for number in numbers}


@contextmanager
def _not_described() -> Iterator[None]:
    """Tell in one line what highdicom has against a series, without its values."""
    from pydicom.config import disable_value_validation

    try:
        # Warnings and logs would quote values that are copied as they are.
        with _settings, quietly(), disable_value_validation():
            yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _refused(
            found="labels of a series whose headers break DICOM's rules "
            f"({type(error).__name__})",
            needed="patient, study and series as the standard demands",
        ) from error
