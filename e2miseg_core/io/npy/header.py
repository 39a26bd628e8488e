"""The header of a NumPy array in a file: parsed without numpy's own reader.

That one falls back to a tokenizer for files of Python 2, which raises what it likes.
"""

import ast
import lzma
import operator
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.errors import ReadError

__all__ = ["DAMAGE", "HEADER_BYTES", "NpyArray", "parse_npy", "unreadable"]

HEADER_BYTES = 1 << 16  # at the start of a file, enough for any header
_MOST_HEADER = 10_000  # as numpy: more may be made to crash the parser
_MAGIC = b"\x93NUMPY"
# What damaged archives and headers raise inside zipfile and numpy.
DAMAGE = (
    *(OSError, ValueError, RuntimeError, EOFError, LookupError, TypeError),
    *(
        SyntaxError,
        AttributeError,
        MemoryError,
        RecursionError,
        NotImplementedError,
        OverflowError,
    ),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


@dataclass(frozen=True, kw_only=True)
class NpyArray:
    """What a header says.

    Attributes
    ----------
    path : Path
        Of the file.
    shape : tuple of int
        As stored.
    dtype : numpy.dtype
        Of the values.
    is_fortran : bool
        Whether the first index is the fastest.
    size : int
        Bytes before the values.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    size: int


def parse_npy(path: Path, start: bytes) -> NpyArray:
    """Parse and check the start of a .npy file.

    Parameters
    ----------
    path : Path
        For messages.
    start : bytes
        The first `HEADER_BYTES`, or all there are.

    Raises
    ------
    ReadError
        If it is damaged, or the array holds no real numbers.
    """
    length_bytes = 2 if start[6:7] == b"\1" else 4
    if start[:6] != _MAGIC or start[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise unreadable(path, f"it starts with {start[:8]!r}")
    begin = 8 + length_bytes
    end = begin + int.from_bytes(start[8:begin], "little")
    if end > min(len(start), begin + _MOST_HEADER):
        raise unreadable(path, "its header is cut off or too long")
    try:
        # Python 2 wrote some sizes as 3L.
        text = re.sub(r"(\d)L\b", r"\1", start[begin:end].decode("latin-1"))
        stated = ast.literal_eval(text.strip())
        shape = tuple(operator.index(size) for size in stated["shape"])
        is_fortran = {True: True, False: False}[stated["fortran_order"]]
        dtype = np.lib.format.descr_to_dtype(stated["descr"])
    except DAMAGE as error:
        raise unreadable(path, _first_line(error)) from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ReadError(
            found=f"{path} holds values of the type {dtype!s:.60}",
            needed="whole or real numbers of at most 64 bits",
            do="save an array of numbers",
        )
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    return NpyArray(
        path=path,
        shape=shape,
        dtype=dtype,
        is_fortran=bool(is_fortran),
        size=end,
    )


def unreadable(path: Path, why: object) -> ReadError:
    """Make the error for what numpy did not write."""
    return ReadError(
        found=f"{path} cannot be read ({why!s:.160})",
        needed="an array saved by numpy",
        do="check the path, or save it again",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
