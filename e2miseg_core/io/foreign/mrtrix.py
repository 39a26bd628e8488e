"""MRtrix images (.mif): header lines, then voxels in any order of axes, even as bits.

https://mrtrix.readthedocs.io/en/latest/getting_started/image_data.html
"""

import gzip
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.foreign.copy import ForeignImage
from e2miseg_core.io.limits import DEFLATE_RATIO

__all__ = ["open_mrtrix"]

_HEADER_BYTES = 4 << 20
_TYPE = re.compile(r"(bit|u?int8|(?:u?int(?:16|32|64)|float(?:16|32|64))(?:le|be)?)")


def open_mrtrix(path: Path) -> ForeignImage:
    """Open a .mif or .mif.gz file.

    Raises
    ------
    ReadError
        If its header is damaged, or its voxels lie in another file.
    """
    is_packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if is_packed else path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    fields = _fields(path, start)
    try:
        voxels, dtype = _voxels(path, fields, is_packed=is_packed)
        sizes = _numbers(fields, "vox")[:3]
        offset, slope = _numbers(fields, "scaling") or [0.0, 1.0]
        affine = _affine(fields, sizes)
    except (KeyError, ValueError, OverflowError, EOFError) as error:
        raise _damage(path, f"a header that makes no sense ({error})") from error
    if (offset, slope) != (0.0, 1.0):
        voxels = _Scaled(voxels, offset, slope)
    return ForeignImage(
        voxels=voxels,
        affine=affine,
        placement="the header's transform",
        stored_dtype=dtype,
        spacing=tuple(sizes),
    )


def _fields(path: Path, start: bytes) -> dict[str, str]:
    """Lines `key: value` up to END; those that come again are put together."""
    head, mark, _ = start.partition(b"\nEND")
    lines = head.decode("utf-8", "replace").splitlines()
    if not mark or lines[0].strip() != "mrtrix image":
        raise _damage(path, f"{start[:16]!r} at its beginning, or no END")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        key, _, value = line.partition(":")
        known = fields.get(key.strip())
        value = value.strip()
        fields[key.strip()] = value if known is None else f"{known},{value}"
    return fields


def _numbers(fields: Mapping[str, str], key: str) -> list[float]:
    text = fields.get(key, "")
    return [float(number) for number in text.split(",")] if text else []


def _voxels(
    path: Path, fields: Mapping[str, str], *, is_packed: bool
) -> tuple[Any, np.dtype[Any]]:
    dims = [int(size) for size in fields["dim"].split(",")]
    layout = fields["layout"].split(",")
    ranks = [abs(int(rank)) for rank in layout]
    place, _, start = fields["file"].partition(" ")
    named = _TYPE.fullmatch(fields["datatype"].lower())
    if place != "." or named is None:
        raise _damage(path, f"{fields['datatype']} voxels in the file {place!r}")
    if len(ranks) != len(dims) or len(set(ranks)) != len(ranks) or min(dims) < 1:
        raise _damage(path, f"dimensions {dims} in the layout {layout}")
    stored, dtype = _stored(path, named[1], int(start or 0), dims, is_packed=is_packed)
    slowest_first = np.argsort(ranks)[::-1]
    array = stored.reshape([dims[axis] for axis in slowest_first])
    array = array.transpose(np.argsort(slowest_first))
    flips = tuple(slice(None, None, -1 if rank[0] == "-" else 1) for rank in layout)
    array = array[flips]
    return array.reshape(*array.shape, *[1] * (3 - array.ndim)), dtype


def _stored(
    path: Path, name: str, offset: int, dims: list[int], *, is_packed: bool
) -> tuple[NDArray[Any], np.dtype[Any]]:
    """Voxels in the order of the file, flat."""
    bits = name == "bit"
    dtype = np.dtype("u1" if bits else name.removesuffix("le").removesuffix("be"))
    dtype = dtype.newbyteorder(">" if name.endswith("be") else "<")
    count = math.prod(dims)
    nbytes = -(-count // 8) if bits else count * dtype.itemsize
    size = path.stat().st_size * (DEFLATE_RATIO if is_packed else 1)
    if offset < 0 or offset + nbytes > size:
        raise _damage(path, f"room for {size} bytes, and needs {offset + nbytes}")
    if is_packed:
        with gzip.open(path) as file:
            file.seek(offset)
            flat = np.frombuffer(file.read(nbytes), np.uint8)
    else:
        flat = np.memmap(path, np.uint8, "r", offset, (nbytes,))
    if flat.size < nbytes:
        raise _damage(path, f"{flat.size} bytes of voxels, and needs {nbytes}")
    if bits:
        return np.unpackbits(flat, count=count), dtype
    return flat.view(dtype), dtype


def _affine(fields: Mapping[str, str], sizes: list[float]) -> NDArray[np.float64]:
    """Directions and origin; NaN, which is passed over, where there are none."""
    affine = np.full((4, 4), np.nan)
    affine[3] = 0, 0, 0, 1
    rows = _numbers(fields, "transform")
    if len(rows) >= 12:
        affine[:3] = np.reshape(rows[:12], (3, 4))
        affine[:3, :3] *= sizes
    return affine


class _Scaled:
    """Voxels multiplied and shifted when they are sliced."""

    def __init__(self, voxels: NDArray[Any], offset: float, slope: float) -> None:
        self._voxels, self._offset, self._slope = voxels, offset, slope
        self.shape = voxels.shape

    def __getitem__(self, key: Any) -> NDArray[Any]:
        scaled: NDArray[Any] = self._voxels[key] * self._slope + self._offset
        return scaled.astype(np.float32)


def _damage(path: Path, what: str) -> ReadError:
    return ReadError(
        found=f"{path} has {what}",
        needed="a whole MRtrix image with its voxels in the same file",
        do="export it again, or convert it to .nii.gz",
    )
