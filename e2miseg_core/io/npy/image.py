"""NumPy's .npy and .npz files, read in place; nothing in them is ever unpickled.

Rules
-----
* Two axes are Y, X; three are Z, Y, X, taken as superior, posterior, left, of 1 mm.
* Of four axes the first is the channels, or the last if that has at most 4 values and
  the first has more.
* An .npz file holds several arrays: `part` names one, without or with ".npy".
"""

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

from e2miseg_core.errors import Choice, ChoiceError, ReadError
from e2miseg_core.geometry import AxisTransform, Geometry
from e2miseg_core.io.address import Address
from e2miseg_core.io.npy.header import (
    DAMAGE,
    HEADER_BYTES,
    NpyArray,
    parse_npy,
    unreadable,
)
from e2miseg_core.io.raw.files import RawFiles, RawImage, present
from e2miseg_core.volume import Volume, default_channels

__all__ = ["read_npy", "read_npz"]

_SUFFIX = ".npy"
_MOST_LISTED = 100
_COLORS = 4  # a last axis of so many values may be channels
_LOCAL = struct.Struct("<4s22xHH")  # of a member of a zip file: magic, name, extra
_COMPRESSIONS = {
    zipfile.ZIP_STORED: "",
    zipfile.ZIP_DEFLATED: "deflate",
    zipfile.ZIP_BZIP2: "bz2",
}


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
            start = file.read(HEADER_BYTES)
    except OSError as error:
        raise unreadable(path, error.strerror or error) from error
    array = parse_npy(path, start)
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
    except DAMAGE as error:
        raise unreadable(path, error) from error
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
        raise unreadable(address.path, "it holds no arrays")
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
) -> NpyArray:
    if info.flag_bits & 1:
        raise unreadable(path, f"{info.filename} is encrypted")
    with archive.open(info) as stream:
        return parse_npy(path, stream.read(HEADER_BYTES))


def _offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Bytes before the content of a member, behind its own header."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        magic, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if magic != b"PK\x03\x04":
        raise unreadable(path, "a member is not where the index says")
    return int(info.header_offset + _LOCAL.size + name + extra)


def _open(
    address: Address,
    array: NpyArray,
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
        is_oriented=False,
    )
    return present(image, raw.pixels(), [array.path])


def _arranged(
    array: NpyArray,
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
