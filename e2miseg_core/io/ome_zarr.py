"""OME-Zarr: reading of versions 0.4 and 0.5, writing of 0.5 (zarr 3).

The exact grid stands in the attributes under ``e2miseg``; beside it the scale and the
translation that every other program reads. There the axes z, y, x are those of LPS+:
they grow to superior, posterior, left, which is what a store without our grid is
taken to mean.
"""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import dask.array as da
import numpy as np
import zarr
import zarr.codecs
import zarr.errors
from dask.base import tokenize
from numpy.typing import DTypeLike, NDArray

from e2miseg_core.errors import GeometryError, ReadError, WriteError
from e2miseg_core.geometry import AxisTransform, Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.lazy import (
    Box,
    iter_slabs,
    merged_chunks,
    oriented,
    slab_thickness,
)
from e2miseg_core.io.ome_metadata import OmeImage, make_attributes, parse_image
from e2miseg_core.io.plan import Kind, WritePlan
from e2miseg_core.volume import Source, Volume, default_channels

__all__ = ["create_store", "is_zarr", "read_ome_zarr", "write_ome_zarr"]

_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_CHUNK = 64
# What a damaged or foreign store can make zarr raise.
_FAULTS = (OSError, ValueError, KeyError, TypeError, RuntimeError)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    return any((path / marker).is_file() for marker in _MARKERS)


def read_ome_zarr(address: Address) -> Volume:
    """Open an OME-Zarr image, or a bare zarr array, without reading its voxels.

    Parameters
    ----------
    address : Address
        Folder of the image's group, or of an array (Z, Y, X) or (C, Z, Y, X).

    Returns
    -------
    Volume
        With all levels of the image. Time points become channels.

    Raises
    ------
    ReadError
        If it is no such image, or damaged.
    GeometryError
        If its grid is unusable.
    """
    path = address.path
    if not is_zarr(path):
        raise ReadError(
            found=f"{path} is " + ("no zarr store" if path.exists() else "missing"),
            needed="a folder with zarr.json (zarr 3) or .zgroup (zarr 2)",
            do="check the path, or copy the whole folder again",
        )
    try:
        node = zarr.open(str(path), mode="r")
    except _FAULTS as error:
        raise _damaged(path, error) from error
    if isinstance(node, zarr.Array):
        return _bare(path, node)
    attributes = cast("dict[str, Any]", node.attrs.asdict())
    image = parse_image(str(path), attributes)
    arrays = [_level(path, node, name, len(image.axes)) for name in image.paths]
    own = attributes.get("e2miseg", {})
    return _volume(path, arrays, image, own if isinstance(own, Mapping) else {})


def _level(path: Path, group: "zarr.Group", name: str, ndim: int) -> "zarr.Array[Any]":
    try:
        array = group[name]
    except _FAULTS as error:
        raise _damaged(path, error) from error
    if not isinstance(array, zarr.Array) or array.ndim != ndim:
        raise ReadError(
            found=f"{path} has no array of {ndim} axes at {name!r}",
            needed="the levels that its metadata lists",
            do="copy the whole folder again",
        )
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ReadError(
            found=f"{path} holds values of type {array.dtype}",
            needed="whole or real numbers",
            do="convert it first",
        )
    return array


def _damaged(path: Path, error: BaseException) -> ReadError:
    return ReadError(
        found=f"{path} is damaged or of another kind ({error})",
        needed="a whole OME-Zarr image",
        do="copy or export it again",
    )


def _bare(path: Path, array: "zarr.Array[Any]") -> Volume:
    if array.ndim not in (3, 4):
        raise ReadError(
            found=f"{path} is a zarr array of shape {array.shape}",
            needed="(Z, Y, X) or (C, Z, Y, X), or an OME-Zarr image",
            do="open the group that holds the image",
        )
    image = OmeImage(
        axes=tuple("czyx"[-array.ndim :]),
        paths=("",),
        scale=(1.0, 1.0, 1.0),
        translation=(0.0, 0.0, 0.0),
        unit="mm",
        channels=(),
        notes=("a zarr array without metadata: voxels taken as 1 mm",),
    )
    return _volume(path, [array], image, {})


def _volume(
    path: Path,
    arrays: Sequence["zarr.Array[Any]"],
    image: OmeImage,
    own: Mapping[str, Any],
) -> Volume:
    pixels = [_ZarrPixels(path, array, image.axes) for array in arrays]
    shape = pixels[0].shape
    geometry, notes = _geometry(path, image, own, shape[1:])
    transform = canonical_transform(geometry)
    if "t" in image.axes and arrays[0].shape[image.axes.index("t")] > 1:
        notes.append(f"time points taken as channels: {shape[0]} in all")
    names = tuple(str(name) for name in own.get("channels", image.channels))
    if len(names) != shape[0]:
        names = default_channels(shape[0])
    source = Source(
        uri=str(path),
        format="ome-zarr",
        geometry=geometry,
        transform=transform,
        dtype=arrays[0].dtype,
        details={key: own[key] for key in ("kind", "labels") if key in own},
    )
    return Volume(
        levels=tuple(_lazy(level, transform) for level in pixels),
        geometry=transform.apply_geometry(geometry),
        channels=names,
        source=source,
        notes=(*image.notes, *notes),
    )


def _geometry(
    path: Path, image: OmeImage, own: Mapping[str, Any], shape: Sequence[int]
) -> tuple[Geometry, list[str]]:
    if "geometry" not in own:
        note = "axes z, y, x taken as superior, posterior, left"
        return image.geometry(shape), [note]
    geometry = Geometry.from_json(own["geometry"])
    if geometry.shape != tuple(shape):
        raise GeometryError(
            found=f"{path} has {tuple(shape)} voxels but a grid of {geometry.shape}",
            needed="the grid of its voxels",
            do="write the store again",
        )
    return geometry, []


class _ZarrPixels:
    """Stored voxels presented as (C, Z, Y, X): t and c in one, missing axes added."""

    def __init__(
        self, path: Path, array: "zarr.Array[Any]", axes: Sequence[str]
    ) -> None:
        self._path = path
        self._array = array
        self._axes = tuple(axes)
        sizes = dict(zip(axes, array.shape, strict=True))
        self._frames = (sizes.get("t", 1), sizes.get("c", 1))
        self.shape = (
            self._frames[0] * self._frames[1],
            sizes.get("z", 1),
            sizes["y"],
            sizes["x"],
        )
        native: np.dtype[Any] = array.dtype.newbyteorder("=")
        self.dtype = native

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Sizes along (C, Z, Y, X) of the pieces to read: one or more chunks each."""
        stored = dict(zip(self._axes, self._array.chunks, strict=True))
        pieces = (stored.get("z", 1), stored["y"], stored["x"])
        return merged_chunks(pieces, self.shape, self.dtype.itemsize)

    @property
    def token(self) -> str:
        """Differs between stores, and after a store was written anew."""
        times = [
            (self._path / marker).stat().st_mtime_ns
            for marker in _MARKERS
            if (self._path / marker).is_file()
        ]
        return str(tokenize(str(self._path.resolve()), self._array.path, times))

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box (C, Z, Y, X)."""
        frames = range(box[0].start, box[0].stop)
        shape = (len(frames), *(part.stop - part.start for part in box[1:]))
        block = np.empty(shape, dtype=self.dtype)
        for at, frame in enumerate(frames):
            time, channel = divmod(frame, self._frames[1])
            keys: dict[str, int | slice] = {
                "t": time,
                "c": channel,
                "z": box[1],
                "y": box[2],
                "x": box[3],
            }
            index = tuple(keys[axis] for axis in self._axes)
            try:
                part = np.asarray(self._array[index])
            except _FAULTS as error:
                raise _damaged(self._path, error) from error
            order = [axis for axis in self._axes if axis in "zyx"]
            part = part.transpose(
                [order.index(axis) for axis in "zyx" if axis in order]
            )
            block[at] = part.reshape(shape[1:])
        return block


def _lazy(pixels: _ZarrPixels, transform: AxisTransform) -> da.Array:
    return oriented(pixels, pixels.chunks, transform, f"zarr-{pixels.token}")


def create_store(  # noqa: PLR0913 - each with a default that most callers leave
    path: str | Path,
    geometry: Geometry,
    dtype: DTypeLike,
    *,
    chunks: tuple[int, int, int] = (_CHUNK, _CHUNK, _CHUNK),
    kind: Kind = "labels",
    channels: Sequence[str] = (),
    names: Mapping[int, str] | None = None,
    n_levels: int = 1,
) -> "zarr.Array[Any]":
    """Make an empty OME-Zarr 0.5 image, for a job to fill.

    Parameters
    ----------
    path : str or Path
        Folder to be made; its parent must exist.
    geometry : Geometry
        Of the array's axes Z, Y, X.
    dtype : dtype
        Of the voxels.
    chunks : tuple of int
        Along Z, Y, X; different chunks may be written at the same time.
    kind : str
        "labels" or "image".
    channels : sequence of str
        Names; with them the array is (C, Z, Y, X), without (Z, Y, X).
    names : mapping of int to str, optional
        Of label values.
    n_levels : int
        Each level beyond the first has half the voxels along Z, Y, X, rounded up:
        one for each block of 2 x 2 x 2. They stand at the paths "1", "2", ...

    Returns
    -------
    zarr.Array
        Level 0, full of zeros as the others are.

    Raises
    ------
    WriteError
        If the folder exists or cannot be made.
    """
    folder = Path(path)
    if folder.exists() or not folder.parent.is_dir():
        found = f"{folder} exists" if folder.exists() else f"no folder {folder.parent}"
        raise WriteError(
            found=found,
            needed="a new name in an existing folder",
            do="choose another name, or make the folder first",
        )
    attributes = make_attributes(
        geometry,
        name=folder.name,
        kind=kind,
        channels=channels,
        names=names,
        n_levels=n_levels,
    )
    try:
        group = zarr.create_group(str(folder), attributes=attributes, zarr_format=3)
        return _create_levels(
            group, geometry.shape, np.dtype(dtype), chunks, len(channels), n_levels
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise WriteError(
            found=f"{folder} cannot be written ({error.strerror or error})",
            needed="an existing folder with room and the right to write",
            do="check the folder and the disk",
        ) from error


def _create_levels(
    group: "zarr.Group",
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    chunks: tuple[int, int, int],
    n_channels: int,
    n_levels: int,
) -> "zarr.Array[Any]":
    """Make the arrays "0", "1", ..., each half of the one before; returns the first."""
    lead = (n_channels,) if n_channels else ()
    levels: list[zarr.Array[Any]] = []
    for level in range(n_levels):
        levels.append(
            group.create_array(
                str(level),
                shape=(*lead, *shape),
                dtype=dtype,
                chunks=(*(1 for _ in lead), *map(min, chunks, shape)),
                fill_value=0,
                compressors=zarr.codecs.BloscCodec(cname="zstd", clevel=3),
                dimension_names=("c", "z", "y", "x")[1 - len(lead) :],
            )
        )
        z, y, x = ((size + 1) // 2 for size in shape)
        shape = (z, y, x)
    return levels[0]


def write_ome_zarr(plan: WritePlan, path: Path) -> int:
    """Write a plan's array slab by slab.

    Parameters
    ----------
    plan : WritePlan
        What to write.
    path : Path
        Folder to be made.

    Returns
    -------
    int
        CRC-32 of the voxels, in the order written.
    """
    store = create_store(
        path,
        plan.geometry,
        plan.dtype,
        chunks=(min(_CHUNK, slab_thickness(plan.data)), _CHUNK, _CHUNK),
        kind=plan.kind,
        channels=plan.channels,
        names=plan.names,
    )
    checksum = 0
    for index, slab in iter_slabs(plan.data):
        checksum = zlib.crc32(slab.data.cast("B"), checksum)
        store[index] = slab
    return checksum
