"""The header of a DICOM file of segments or contours, bounded by the file's size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2miseg_core.errors import E2MISegError, ReadError
from e2miseg_core.io.dicom.bounded import BoundedFile, DeflatedError
from e2miseg_core.io.dicom.header import is_dicom, open_file
from e2miseg_core.io.dicom.layout import MOST_PACKED, PixelLayout, read_layout
from e2miseg_core.io.dicom.quiet import quietly
from e2miseg_core.io.dicom.tags import PARSE_ERRORS, Tags

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DicomHeader", "damage_told", "read_dataset"]

_PLAIN = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # transfer syntaxes
_MOST_UNPACKED = 1 << 30  # bytes of a header that is packed: contours are text
_READS = 4  # how often a byte is read, at most: ends of sequences are looked for


@dataclass(frozen=True, eq=False, kw_only=True)
class DicomHeader:
    """What stands before the pixels.

    Attributes
    ----------
    dataset : pydicom.Dataset
        Without pixels.
    offset : int
        Of the first byte of the pixels in the file; 0 where there are none.
    n_bytes : int
        Bytes of pixels that the file really has, at most what it announces.
    transfer_syntax : str
        UID of the pixels' encoding; empty where they are stored plainly.
    """

    dataset: "Dataset"
    offset: int
    n_bytes: int
    transfer_syntax: str


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what damaged DICOM raises, at once or when a value is used, into a line."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        with quietly():  # of odd values; those used are checked
            yield
    except E2MISegError:
        raise
    except (*PARSE_ERRORS, BytesLengthException, InvalidDicomError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ReadError(
            found=f"{path} cannot be read as DICOM ({reason})",
            needed="a whole, undamaged DICOM file",
            do="copy or export the file again",
        ) from error


def read_dataset(path: Path) -> DicomHeader:
    """Read everything but the pixels.

    Raises
    ------
    ReadError
        If the file is missing, damaged, not DICOM, big-endian, or deflated as a whole.
    """
    with damage_told(path):
        size = path.stat().st_size
        if not is_dicom(path):
            raise ReadError(
                found=f"{path} does not begin as DICOM does",
                needed="a DICOM file",
                do="check the path, or copy the file again",
            )
        is_packed = path.suffix.lower() == ".gz"
        with open_file(path) as file:
            limit = _MOST_UNPACKED if is_packed else _READS * size
            dataset, layout = _read(path, BoundedFile(file, limit))
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    offset = held = 0
    if layout is not None and layout.kind == "integer":
        offset = layout.offset
        held = MOST_PACKED * size if is_packed else max(0, size - offset)
        held = held if layout.is_encapsulated else min(held, layout.length)
    return DicomHeader(
        dataset=dataset,
        offset=offset,
        n_bytes=held,
        transfer_syntax="" if syntax in _PLAIN else syntax,
    )


def _read(path: Path, file: Any) -> tuple["Dataset", PixelLayout | None]:
    """Read up to the pixels, and where these are."""
    from pydicom import dcmread

    try:
        # What begins like DICOM may lack the preamble, and say nothing of its encoding.
        dataset = dcmread(file, stop_before_pixels=True, force=True)
    except DeflatedError as error:
        raise _refused(path, "deflated") from error
    is_implicit, is_little = dataset.original_encoding
    if not is_little:
        raise _refused(path, "big-endian")
    encoding = bool(is_implicit), True
    return dataset, read_layout(Tags(dataset), encoding, "", file)


def _refused(path: Path, what: str) -> ReadError:
    return ReadError(
        found=f"{path} is {what} as a whole",
        needed="explicit or implicit VR little endian",
        do="export it in another transfer syntax",
    )
