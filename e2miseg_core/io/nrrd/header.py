"""The text header of an NRRD file, parsed and checked.

References
----------
.. [1] G. Kindlmann, "Definition of NRRD File Format",
   https://teem.sourceforge.net/nrrd/format.html
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from e2miseg_core.errors import ReadError
from e2miseg_core.io.text_header import (
    bad_header,
    parse_ints,
    parse_numbers,
    read_start,
)

__all__ = ["NRRD_TYPES", "NrrdHeader", "read_nrrd_header"]

# The first name of each type is the one that is written.
NRRD_TYPES = {
    "i1": "int8|signed char|int8_t",
    "u1": "uint8|unsigned char|uchar|uint8_t",
    "i2": "int16|short|short int|signed short|signed short int|int16_t",
    "u2": "uint16|ushort|unsigned short|unsigned short int|uint16_t",
    "i4": "int32|int|signed int|int32_t",
    "u4": "uint32|uint|unsigned int|uint32_t",
    "i8": "int64|longlong|long long|long long int|signed long long|"
    "signed long long int|int64_t",
    "u8": "uint64|ulonglong|unsigned long long|unsigned long long int|uint64_t",
    "f4": "float",
    "f8": "double",
}
_CODES = {name: code for code, names in NRRD_TYPES.items() for name in names.split("|")}
_COMPRESSIONS = {"raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bz2", "bz2": "bz2"}
_MOST_AXES = 16
_VECTOR = re.compile(r"\([^()]*\)|none", re.IGNORECASE)
ItemT = TypeVar("ItemT")
_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, kw_only=True)
class NrrdHeader:
    """What the header says, fields in the words of the specification [1]_.

    Attributes
    ----------
    path : Path
        Of the file.
    fields : mapping of str to str
        By their names in lower case, without blanks at the ends.
    keys : mapping of str to str
        Key/value pairs, as Slicer describes segments in them.
    file_names : tuple of str
        Lines after ``data file: LIST``.
    sizes : tuple of int
        Samples along each axis, the fastest first.
    dtype : numpy.dtype
        Of the samples.
    compression : str
        "", "gzip" or "bz2".
    end : int
        Bytes of the header in the file.
    """

    path: Path
    fields: Mapping[str, str]
    keys: Mapping[str, str]
    file_names: tuple[str, ...]
    sizes: tuple[int, ...]
    dtype: np.dtype[Any]
    compression: str
    end: int

    def field(self, *names: str) -> str:
        """Value of a field that has several names; empty if it is missing."""
        return next((self.fields[name] for name in names if name in self.fields), "")

    def numbers(self, *names: str) -> list[float] | None:
        """Numbers of a field, one an axis; None if it is missing."""
        text = self.field(*names)
        if not text:
            return None
        values = parse_numbers(self.path, names[0], text)
        return self._one_an_axis(names[0], values)

    def words(self, *names: str) -> list[str] | None:
        """Words of a field, one an axis; None if it is missing."""
        text = self.field(*names)
        return self._one_an_axis(names[0], _quoted(text)) if text else None

    def vectors(self, name: str) -> list[list[float] | None] | None:
        """Vectors of a field, None for "none"; None if the field is missing.

        Raises
        ------
        ReadError
            If they are no vectors of numbers.
        """
        text = self.fields.get(name, "")
        if not text:
            return None
        found = _VECTOR.findall(text)
        if _VECTOR.sub("", text).strip():
            raise bad_header(
                self.path, f"has the {name} {text!r:.80}", "vectors such as (1,0,0)"
            )
        return [
            None if word.lower() == "none" else self._vector(name, word)
            for word in found
        ]

    def _vector(self, name: str, word: str) -> list[float] | None:
        values = parse_numbers(self.path, name, word.strip("()"))
        # What has no direction is written (nan,nan,nan) by some.
        return None if values and all(np.isnan(values)) else values

    def _one_an_axis(self, name: str, values: list[ItemT]) -> list[ItemT]:
        if len(values) != len(self.sizes):
            raise bad_header(
                self.path,
                f"has {len(values)} {name} for {len(self.sizes)} axes",
                "one an axis",
            )
        return values


def _quoted(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is not closed
        return text.replace('"', " ").split()


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Read and check the header of a .nrrd or .nhdr file.

    Raises
    ------
    ReadError
        If the file cannot be read, its header is damaged or contradicts itself, or
        the voxels are text or no numbers.
    """
    start = read_start(path, "NRRD", lambda start: _END.search(start) is not None)
    if not re.match(rb"NRRD000\d\r?\n", start):
        raise ReadError(
            found=f"{path} starts with {start[:8]!r}",
            needed="an NRRD file",
            do="check that the file is what its name says, or copy it again",
        )
    blank = _END.search(start)
    text = start[: blank.start()] if blank else start
    lines = [line.rstrip() for line in _decoded(text).split("\n")[1:]]
    fields, keys, names = _parsed(path, lines)
    if blank is None and not ("data file" in fields or "datafile" in fields):
        raise bad_header(path, "has a header without an end", "a blank line after it")
    return NrrdHeader(
        path=path,
        fields=fields,
        keys=keys,
        file_names=names,
        sizes=_sizes(path, fields),
        dtype=_dtype(path, fields),
        compression=_compression(path, fields),
        end=blank.end() if blank else len(start),
    )


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:  # as older programs wrote the names of segments
        return text.decode("latin-1")


def _parsed(
    path: Path, lines: list[str]
) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for number, line in enumerate(lines):
        if line.startswith("#") or not line.strip():
            continue
        key, mark, value = line.partition(":=")
        name, colon, content = line.partition(":")
        if mark and len(key) <= len(name):
            keys[key.strip()] = value.strip()
            continue
        name, content = name.strip().lower(), content.strip()
        if not colon or not name:
            raise bad_header(path, f"has the line {line!r:.60}", "field: value")
        if name in fields:
            raise bad_header(path, f"has the field {name!r} twice", "each field once")
        fields[name] = content
        if name in ("data file", "datafile") and content.split()[:1] == ["LIST"]:
            rest = (name.strip() for name in lines[number + 1 :])
            return fields, keys, tuple(name for name in rest if name)
    return fields, keys, ()


def _sizes(path: Path, fields: Mapping[str, str]) -> tuple[int, ...]:
    sizes = parse_ints(path, "sizes", fields.get("sizes", ""))
    dimension = parse_ints(path, "dimension", fields.get("dimension", ""))
    if dimension != [len(sizes)] or not 2 <= len(sizes) <= _MOST_AXES or min(sizes) < 1:
        raise bad_header(
            path,
            f"has the dimension {fields.get('dimension', '?')[:20]} and the sizes "
            f"{fields.get('sizes', '?')[:80]}",
            "two or more sizes of at least 1, as many as the dimension says",
        )
    return tuple(sizes)


def _dtype(path: Path, fields: Mapping[str, str]) -> np.dtype[Any]:
    name = " ".join(fields.get("type", "").lower().split())
    if name not in _CODES:
        raise bad_header(
            path,
            f"holds values of the type {name[:40]!r}",
            "whole or real numbers of 8 to 64 bits",
        )
    dtype = np.dtype(_CODES[name])
    order = fields.get("endian", "").lower()
    if dtype.itemsize == 1:
        return dtype
    if order not in ("little", "big"):
        raise bad_header(path, f"has the endian {order[:20]!r}", "little or big")
    return dtype.newbyteorder("<" if order == "little" else ">")


def _compression(path: Path, fields: Mapping[str, str]) -> str:
    encoding = fields.get("encoding", "").lower()
    if encoding not in _COMPRESSIONS:
        raise ReadError(
            found=f"{path} has the encoding {encoding[:20]!r}",
            needed="raw, gzip or bzip2",
            do="save it again with one of these",
        )
    return _COMPRESSIONS[encoding]
