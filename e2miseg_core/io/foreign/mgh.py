"""FreeSurfer's images (.mgh, .mgz): a header of 284 bytes, then voxels, X fastest.

https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.grid import resolve_grid
from e2miseg_core.io.raw.files import RawImage, present
from e2miseg_core.io.raw.pixels import RawLayout, RawPixels
from e2miseg_core.volume import Volume, default_channels

__all__ = ["read_mgh"]

_HEADER_BYTES = 284
_FIELDS = np.dtype(
    [
        ("version", ">i4"),
        ("dims", ">i4", (4,)),  # x, y, z, frames
        ("type", ">i4"),
        ("dof", ">i4"),
        ("is_placed", ">i2"),
        ("spacing", ">f4", (3,)),
        ("directions", ">f4", (3, 3)),  # a row for each axis x, y, z, in RAS
        ("center", ">f4", (3,)),  # of the voxel dims / 2, in RAS
    ]
)
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
# Of a header that places nothing FreeSurfer says: x to left, y to inferior, z to
# anterior, the columns of this matrix.
_CORONAL = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_PACKED = (".mgz", ".gz")


def read_mgh(address: Address) -> Volume:
    """Open a FreeSurfer image without reading its voxels.

    Parameters
    ----------
    address : Address
        A .mgh, .mgz or .mgh.gz file.

    Returns
    -------
    Volume
        Frames as channels.

    Raises
    ------
    ReadError
        If the file is missing or damaged.
    GeometryError
        If its header has no usable grid.
    """
    path = address.path
    is_packed = path.name.lower().endswith(_PACKED)
    fields = _header(path, is_packed=is_packed)
    x, y, z, channels = (int(size) for size in fields["dims"])
    affine, spacing = _affine(fields)
    geometry, notes, is_placed = resolve_grid(
        (z, y, x), [("the header's directions", affine)], spacing, place=str(path)
    )
    if not fields["is_placed"]:
        notes.append("no orientation in the header: axes taken as coronal slices")
    if channels > 1:
        notes.append(f"4D: {channels} frames taken as channels")
    layout = RawLayout(
        path=path,
        offset=0 if is_packed else _HEADER_BYTES,
        shape=(channels, z, y, x),
        dtype=np.dtype(_TYPES[int(fields["type"])]),
        compression="gzip" if is_packed else "",
        skip=_HEADER_BYTES if is_packed else 0,
    )
    image = RawImage(
        address=address,
        format="foreign",
        geometry=geometry,
        channels=default_channels(channels),
        notes=tuple(notes),
        is_oriented=is_placed and bool(fields["is_placed"]),
    )
    return present(image, RawPixels(layout), [path])


def _header(path: Path, *, is_packed: bool) -> np.void:
    """Read the fields of the header, whose sizes and type are usable."""
    try:
        with gzip.open(path) if is_packed else path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
    except FileNotFoundError as error:
        raise ReadError(
            found=f"{path} cannot be read (no such file)",
            needed="an image file",
            do="check the path",
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"{error!s:.200}") from error
    if len(start) < _HEADER_BYTES:
        raise _damaged(path, f"{len(start)} bytes, no whole header")
    fields: np.void = np.frombuffer(start, _FIELDS, count=1)[0]
    if fields["version"] != 1 or int(fields["type"]) not in _TYPES:
        what = f"version {fields['version']}, voxels of the type {fields['type']}"
        raise _damaged(path, what)
    if fields["dims"].min() < 1:
        raise _damaged(path, f"dimensions {fields['dims'].tolist()}")
    return fields


def _affine(fields: np.void) -> tuple[NDArray[np.float64], list[float]]:
    """Affine of the indices (z, y, x), and the spacing along Z, Y, X."""
    spacing = fields["spacing"].astype(np.float64)
    directions = fields["directions"].astype(np.float64).T
    center = fields["center"].astype(np.float64)
    if not fields["is_placed"]:
        spacing, directions, center = np.ones(3), _CORONAL, np.zeros(3)
    columns = directions * spacing
    affine = np.eye(4)
    affine[:3, :3] = columns
    # Half of the size, not the middle of the outermost voxels: the format says so.
    affine[:3, 3] = center - columns @ (fields["dims"][:3] / 2)
    return affine[:, [2, 1, 0, 3]], spacing[::-1].tolist()


def _damaged(path: Path, what: str) -> ReadError:
    return ReadError(
        found=f"{path} cannot be read ({what})",
        needed="a whole FreeSurfer image of version 1 with 8, 16 or 32 bit voxels",
        do="copy or export it again",
    )
