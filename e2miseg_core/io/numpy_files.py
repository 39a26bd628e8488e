"""NumPy's .npy and .npz files, read in place; nothing in them is ever unpickled.

Rules
-----
* Two axes are Y, X; three are Z, Y, X, taken as superior, posterior, left, of 1 mm.
* Of four axes the first is the channels, or the last if that has at most 4 values and
  the first has more.
* An .npz file holds several arrays: `part` names one, without or with ".npy".
"""

import ast
import lzma
import operator
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from e2miseg_core.errors import Choice, ChoiceError, ReadError
from e2miseg_core.geometry import AxisTransform, Geometry
from e2miseg_core.io.address import Address
from e2miseg_core.io.raw_files import RawFiles, RawImage, present
from e2miseg_core.volume import Volume, default_channels

__all__ = ["read_npy", "read_npz"]

_HEADER_BYTES = 1 << 16
_MOST_HEADER = 10_000  # as numpy: more may be made to crash the parser
_MAGIC = b"\x93NUMPY"
_SUFFIX = ".npy"
_MOST_LISTED = 100
_COLORS = 4  # a last axis of so many values may be channels
_LOCAL = struct.Struct("<4s22xHH")  # of a member of a zip file: magic, name, extra
_COMPRESSIONS = {
    zipfile.ZIP_STORED: "",
    zipfile.ZIP_DEFLATED: "deflate",
    zipfile.ZIP_BZIP2: "bz2",
}
# What damaged archives and headers raise inside zipfile and numpy.
_DAMAGE = (
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
class _Array:
    """A header: shape, type, order, and bytes before the values."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    size: int


def read_npy(address: Address) -> Volume:
    """Open a .npy file without reading its voxels.

    Parameters
    ----------
    address : Address
        An array of two to four axes, in C or Fortran order.

    Raises
    ------
    ReadError
        If it is damaged, cut off, or holds anything but real numbers.
    """
    path = address.path
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
    except OSError as error:
        raise _unreadable(path, error.strerror or error) from error
    array = _header(path, start)
    return _open(address, array, array.size)


def read_npz(address: Address) -> Volume:
    """Open an array of an .npz file without reading its voxels.

    Parameters
    ----------
    address : Address
        Its `part` names the array; not needed where there is only one.

    Raises
    ------
    ReadError
        As for `read_npy`, or if there is no such array.
    ChoiceError
        If there are several, and none is named.
    """
    path = address.path
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [i for i in archive.infolist() if i.filename.endswith(_SUFFIX)]
            member = _chosen(address, archive, infos)
            array = _member_header(path, archive, member)
            offset = _offset(path, member)
    except ReadError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    kind = member.compress_type
    if kind not in _COMPRESSIONS:
        raise ReadError(
            found=f"{path} packs {member.filename} by the method {kind}",
            needed="an array saved by numpy.savez or numpy.savez_compressed",
            do="save it again with one of these",
        )
    if kind == zipfile.ZIP_STORED:
        return _open(address, array, offset + array.size)
    return _open(address, array, offset, _COMPRESSIONS[kind], array.size)


def _chosen(
    address: Address, archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]
) -> zipfile.ZipInfo:
    if not infos:
        raise _unreadable(address.path, "it holds no arrays")
    names = {info.filename.removesuffix(_SUFFIX): info for info in infos}
    if address.part:
        wanted = address.part.removesuffix(_SUFFIX)
        if wanted in names:
            return names[wanted]
        raise ReadError(
            found=f"{address.place} holds no array {wanted!r:.60}",
            needed="one of " + ", ".join(list(names)[:12]),
            do="choose one of them",
        )
    if len(names) == 1:
        return infos[0]
    choices = [
        Choice(part=name, title=name, detail=_detail(address.path, archive, info))
        for name, info in list(names.items())[:_MOST_LISTED]
    ]
    raise ChoiceError.among(address.place, "arrays", choices)


def _detail(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    try:
        array = _member_header(path, archive, info)
    except ReadError:
        return "no image"
    return " x ".join(map(str, array.shape)) + f", {array.dtype.name}"


def _member_header(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> _Array:
    if info.flag_bits & 1:
        raise _unreadable(path, f"{info.filename} is encrypted")
    with archive.open(info) as stream:
        return _header(path, stream.read(_HEADER_BYTES))


def _offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Bytes before the content of a member, behind its own header."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        magic, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if magic != b"PK\x03\x04":
        raise _unreadable(path, "a member is not where the index says")
    return int(info.header_offset + _LOCAL.size + name + extra)


def _header(path: Path, start: bytes) -> _Array:
    length_bytes = 2 if start[6:7] == b"\1" else 4
    if start[:6] != _MAGIC or start[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise _unreadable(path, f"it starts with {start[:8]!r}")
    begin = 8 + length_bytes
    end = begin + int.from_bytes(start[8:begin], "little")
    if end > min(len(start), begin + _MOST_HEADER):
        raise _unreadable(path, "its header is cut off or too long")
    try:
        # Python 2 wrote some sizes as 3L.
        text = re.sub(r"(\d)L\b", r"\1", start[begin:end].decode("latin-1"))
        stated = ast.literal_eval(text.strip())
        shape = tuple(operator.index(size) for size in stated["shape"])
        is_fortran = {True: True, False: False}[stated["fortran_order"]]
        dtype = np.lib.format.descr_to_dtype(stated["descr"])
    except _DAMAGE as error:
        raise _unreadable(path, _first_line(error)) from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ReadError(
            found=f"{path} holds values of the type {dtype!s:.60}",
            needed="whole or real numbers of at most 64 bits",
            do="save an array of numbers",
        )
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    return _Array(
        path=path,
        shape=shape,
        dtype=dtype,
        is_fortran=bool(is_fortran),
        size=end,
    )


def _open(
    address: Address,
    array: _Array,
    offset: int,
    compression: str = "",
    skip: int = 0,
) -> Volume:
    shape, channels_last, notes = _arranged(array)
    canonical = Geometry.from_spacing(shape[1:], (1.0, 1.0, 1.0))
    geometry = canonical
    if array.is_fortran:
        # The bytes run the other way round: X is the slowest axis, channels too turn.
        geometry = AxisTransform(permutation=(2, 1, 0)).apply_geometry(canonical)
        channels_last = not channels_last
    raw = RawFiles(
        header=array.path,
        files=(array.path,),
        offsets=(offset,),
        shape=(shape[0], *geometry.shape),
        dtype=array.dtype,
        channels_last=channels_last and shape[0] > 1,
        compression=compression,
        skip=skip,
    )
    image = RawImage(
        address=address,
        format="numpy",
        geometry=geometry,
        channels=default_channels(shape[0]),
        notes=notes,
    )
    return present(image, raw.pixels(), [array.path])


def _arranged(
    array: _Array,
) -> tuple[tuple[int, int, int, int], bool, tuple[str, ...]]:
    """Shape (C, Z, Y, X), whether the last axis is C, and notes."""
    sizes = array.shape
    if not 2 <= len(sizes) <= 4 or min(sizes) < 1:
        raise ReadError(
            found=f"{array.path} holds an array of shape {sizes}",
            needed="the axes Y, X or Z, Y, X or C, Z, Y, X, none of them empty",
            do="save one image an array",
        )
    notes = (
        "a NumPy file has no spacing and no orientation: voxels of 1 mm, axes "
        "Z, Y, X taken as superior, posterior, left",
    )
    if len(sizes) < 4:
        y, x = sizes[-2:]
        return (1, sizes[0] if len(sizes) == 3 else 1, y, x), False, notes
    is_last = sizes[-1] <= _COLORS < sizes[0]
    c, z, y, x = (sizes[-1], *sizes[:-1]) if is_last else sizes
    place = "last" if is_last else "first"
    return (c, z, y, x), is_last, (*notes, f"4D: the {place} axis taken as channels")


def _unreadable(path: Path, why: object) -> ReadError:
    return ReadError(
        found=f"{path} cannot be read ({why!s:.160})",
        needed="an array saved by numpy",
        do="check the path, or save it again",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
