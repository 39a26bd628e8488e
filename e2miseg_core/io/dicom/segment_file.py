"""The header of a DICOM file of segments or contours, bounded by the file's size."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from e2miseg_core.errors import E2MISegError, ReadError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DicomHeader", "damage_told", "read_header"]

_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_WHOLE_FILE = {
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.2": "big-endian",
}
_PIXEL_DATA = 0x7FE0, 0x0010
_UNDEFINED = 0xFFFFFFFF


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


class _Bounded:
    """A file of which no read asks for more than is left, whatever a length says."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what damaged DICOM raises, at once or when a value is used, into a line."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd values; those used are checked
            yield
    except E2MISegError:
        raise
    except (
        BytesLengthException,
        InvalidDicomError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        NotImplementedError,
        RecursionError,
        struct.error,
    ) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ReadError(
            found=f"{path} cannot be read as DICOM ({reason})",
            needed="a whole, undamaged DICOM file",
            do="copy or export the file again",
        ) from error


def read_header(path: Path) -> DicomHeader:
    """Read everything but the pixels.

    Raises
    ------
    ReadError
        If the file is missing, damaged, not DICOM, or deflated as a whole.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    with damage_told(path), path.open("rb") as file:
        size = path.stat().st_size
        syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", _IMPLICIT))
        if syntax in _WHOLE_FILE:
            raise ReadError(
                found=f"{path} is {_WHOLE_FILE[syntax]} as a whole",
                needed="explicit or implicit VR little endian",
                do="export it in another transfer syntax",
            )
        bounded: Any = _Bounded(file, size)
        dataset = dcmread(bounded, stop_before_pixels=True)
        offset, announced = _pixels(file, implicit=syntax == _IMPLICIT)
    left = size - offset if offset else 0
    return DicomHeader(
        dataset=dataset,
        offset=offset,
        n_bytes=left if announced == _UNDEFINED else min(left, announced),
        transfer_syntax="" if syntax in (_IMPLICIT, _EXPLICIT) else syntax,
    )


def _pixels(file: BinaryIO, *, implicit: bool) -> tuple[int, int]:
    """Read where the pixels begin, and their announced bytes, at the next element."""
    head = file.read(8 if implicit else 12)
    if len(head) < (8 if implicit else 12):
        return 0, 0
    if struct.unpack("<HH", head[:4]) != _PIXEL_DATA:
        return 0, 0  # pixels of another kind, such as real numbers
    return file.tell(), struct.unpack("<I", head[-4:])[0]
