"""The text header of a MetaImage, parsed and checked.

References
----------
.. [1] "MetaIO", https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.errors import ReadError
from e2miseg_core.io.text_header import (
    bad_header,
    parse_ints,
    parse_numbers,
    read_start,
)

__all__ = ["META_TYPES", "MetaHeader", "read_meta_header"]

META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MORE_TYPES = {"MET_LONG": "i4", "MET_ULONG": "u4"}  # 32 bits everywhere, by MetaIO
_LAST_LINE = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*(\w*).*\n", re.M)
_YES = ("true", "t", "1", "yes", "y")


@dataclass(frozen=True, kw_only=True)
class MetaHeader:
    """What the header says [1]_.

    Attributes
    ----------
    path : Path
        Of the file.
    fields : mapping of str to str
        By their names.
    file_names : tuple of str
        Lines after ``ElementDataFile = LIST``.
    sizes : tuple of int
        Voxels along X, Y and further axes.
    n_values : int
        Values of a voxel, beside each other.
    dtype : numpy.dtype
        Of the values.
    compression : str
        "" or "zlib".
    end : int
        Bytes of the header in the file.
    """

    path: Path
    fields: Mapping[str, str]
    file_names: tuple[str, ...]
    sizes: tuple[int, ...]
    n_values: int
    dtype: np.dtype[Any]
    compression: str
    end: int

    def numbers(self, count: int, *names: str) -> list[float] | None:
        """So many numbers of a field that has several names; None if it is missing.

        Raises
        ------
        ReadError
            If there are more or fewer, or they are no numbers.
        """
        for name in names:
            if self.fields.get(name):
                values = parse_numbers(self.path, name, self.fields[name])
                if len(values) != count:
                    raise bad_header(
                        self.path, f"has {len(values)} numbers in {name}", str(count)
                    )
                return values
        return None


def read_meta_header(path: Path) -> MetaHeader:
    """Read and check the header of a .mha or .mhd file.

    Raises
    ------
    ReadError
        If the file cannot be read, its header is damaged or contradicts itself, or
        the voxels are text or no numbers.
    """
    start = read_start(path, "MetaImage", _is_enough)
    fields, end = _parsed(path, start)
    if fields.get("ObjectType", "Image").lower() != "image":
        raise bad_header(
            path, f"holds the object {fields['ObjectType'][:40]!r}", "an image"
        )
    if not _is_yes(fields, "BinaryData", default="True"):
        raise ReadError(
            found=f"{path} holds its voxels as text",
            needed="binary voxels",
            do="save it again without ASCII",
        )
    names = (
        line.strip() for line in start[end:].decode("utf-8", "replace").split("\n")
    )
    is_list = fields["ElementDataFile"].upper().split()[:1] == ["LIST"]
    compressed = _is_yes(fields, "CompressedData", default="False")
    return MetaHeader(
        path=path,
        fields=fields,
        file_names=tuple(name for name in names if name) if is_list else (),
        sizes=_sizes(path, fields),
        n_values=_n_values(path, fields),
        dtype=_dtype(path, fields),
        compression="zlib" if compressed else "",
        end=end,
    )


def _is_enough(start: bytes) -> bool:
    """Whether the last line is there, and no list of files after it."""
    last = _LAST_LINE.search(start)
    return last is not None and last[1].upper() != b"LIST"


def _parsed(path: Path, start: bytes) -> tuple[dict[str, str], int]:
    """Parse lines up to ElementDataFile, which is the last."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(start):
        stop = start.find(b"\n", at)
        stop = len(start) if stop < 0 else stop
        line = start[at:stop].decode("utf-8", "replace").strip()
        at = min(stop + 1, len(start))
        name, mark, value = line.partition("=")
        if not mark and ":" in line:
            name, mark, value = line.partition(":")
        if not line:
            continue
        if not mark:
            break
        fields.setdefault(name.strip(), value.strip())
        if name.strip() == "ElementDataFile":
            return fields, at
    if not fields or "NDims" not in fields:
        raise ReadError(
            found=f"{path} starts with {start[:16]!r}",
            needed="a MetaImage",
            do="check that the file is what its name says, or copy it again",
        )
    raise bad_header(
        path, "has a header without ElementDataFile", "it as the last line"
    )


def _is_yes(fields: Mapping[str, str], name: str, *, default: str) -> bool:
    return fields.get(name, default).lower() in _YES


def _sizes(path: Path, fields: Mapping[str, str]) -> tuple[int, ...]:
    sizes = parse_ints(path, "DimSize", fields.get("DimSize", ""))
    n_dims = parse_ints(path, "NDims", fields.get("NDims", ""))
    if n_dims != [len(sizes)] or not 2 <= len(sizes) <= 4 or min(sizes) < 1:
        raise bad_header(
            path,
            f"has the NDims {fields.get('NDims', '?')[:20]} and the DimSize "
            f"{fields.get('DimSize', '?')[:80]}",
            "two to four sizes of at least 1, as many as NDims says",
        )
    return tuple(sizes)


def _n_values(path: Path, fields: Mapping[str, str]) -> int:
    text = fields.get("ElementNumberOfChannels", "1")
    values = parse_ints(path, "ElementNumberOfChannels", text)
    if len(values) != 1 or values[0] < 1:
        raise bad_header(path, f"has {text[:40]!r} channels", "1 or more")
    return values[0]


def _dtype(path: Path, fields: Mapping[str, str]) -> np.dtype[Any]:
    name = fields.get("ElementType", "").upper().removesuffix("_ARRAY")
    code = META_TYPES.get(name) or _MORE_TYPES.get(name)
    if code is None:
        raise bad_header(
            path,
            f"holds values of the type {name[:40]!r}",
            "whole or real numbers of 8 to 64 bits",
        )
    is_big = any(
        _is_yes(fields, key, default="False")
        for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    )
    return np.dtype(code).newbyteorder(">" if is_big else "<")
