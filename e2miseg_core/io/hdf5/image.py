"""HDF5: data sets read lazily; nothing outside the file is followed."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.geometry import Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.axes import SPATIAL_NOTE, AxisPixels, checked_array, faults
from e2miseg_core.io.declared_spacing import SPACING_KEYS, declared_spacing
from e2miseg_core.io.grid import grid_of
from e2miseg_core.io.hdf5.choice import IMAGE_AXES, choose_dataset
from e2miseg_core.io.hdf5.links import resolve
from e2miseg_core.io.lazy import oriented
from e2miseg_core.io.open_files import KeptOpen
from e2miseg_core.io.raw.unchanged import check_unchanged, stamp_of
from e2miseg_core.io.system_errors import system_error
from e2miseg_core.volume import Segments, Source, Volume, default_channels

__all__ = ["is_hdf5", "read_hdf5"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LABELS = ("label", "seg", "mask", "scribble", "annotation", "gt")  # beginnings
_CACHE_BYTES = 16 << 20  # of unpacked chunks, for the rows and slices beside


@dataclass(frozen=True)
class _Layout:
    """What is needed of a data set once the file is closed."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    axes: str
    attributes: Mapping[str, Any]


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, by its signature."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            for offset in (0, 512, 1024, 2048):  # after a block of the user's
                file.seek(offset)
                if file.read(8) == _SIGNATURE:
                    return True
    except OSError:
        return False
    return False


def read_hdf5(address: Address) -> Volume:
    """Open a data set of an HDF5 file without reading its voxels.

    Parameters
    ----------
    address : Address
        Its part is the data set's path, such as "/raw". Without it a single data set
        is opened, or the one called image, raw, data or volume.

    Returns
    -------
    Volume
        One level; axes by their labels where there are any, else (Y, X), (Z, Y, X),
        (C, Z, Y, X) or (T, C, Z, Y, X).

    Raises
    ------
    ChoiceError
        If there are several data sets.
    ReadError
        If there is none, it lies in another file, or is damaged.
    """
    path = address.path
    _check_file(path)
    try:
        with _opened(path) as file:
            name, notes = choose_dataset(address, file)
            layout = _layout(path, file, name)
    except ReadError:
        raise
    except faults() as error:
        raise (system_error(path, error) or _damaged(path, error)) from error
    return _volume(address, layout, notes)


def _check_file(path: Path) -> None:
    if not path.is_file() or not is_hdf5(path):
        what = "is no HDF5 file" if path.is_file() else "is missing, or no file"
        raise ReadError(
            found=f"{path} {what}",
            needed="a file that starts as HDF5 does",
            do="check the path, or export it again",
        )


def _damaged(path: Path, error: BaseException) -> ReadError:
    return ReadError(
        found=f"{path} is damaged or cut off ({error!s:.300})",
        needed="a whole HDF5 file",
        do="copy or export it again",
    )


def _opened(path: Path) -> "h5py.File":
    try:
        return h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES)
    except OSError:  # a file system without locks, or somebody writes
        return h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES, locking=False)


def _layout(path: Path, file: "h5py.File", name: str) -> _Layout:
    name = resolve(path, file, name)
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.ndim not in IMAGE_AXES:
        shape = getattr(found, "shape", None)
        what = "a group" if shape is None else f"a data set of shape {shape}"
        raise ReadError(
            found=f"{path} has {what} at {name!r}",
            needed="a data set of 2 to 5 axes",
            do="name another part",
        )
    _check_storage(path, found)
    axes = _axes(found)
    checked_array(f"{path}{name}", axes, found.shape, found.dtype, found.chunks)
    attributes = {
        key: found.parent.attrs[key]
        for key in (*SPACING_KEYS, "unit", "units")
        if key in found.parent.attrs
    }
    attributes.update(
        {
            key: found.attrs[key]
            for key in found.attrs
            if key in (*SPACING_KEYS, "unit", "units")
        }
    )
    return _Layout(name, found.shape, found.dtype, found.chunks, axes, attributes)


def _check_storage(path: Path, found: "h5py.Dataset") -> None:
    """Refuse voxels of other files, and filters that are not there."""
    sources = found.virtual_sources() if found.is_virtual else []
    if found.external or any(source.file_name != "." for source in sources):
        raise ReadError(
            found=f"{path} keeps the voxels of {found.name} in other files",
            needed="a data set whose voxels lie in the file",
            do="copy the data set into one file (h5repack does so)",
        )
    settings = found.id.get_create_plist()
    for index in range(settings.get_nfilters()):
        code, _, _, name = settings.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            label = name.decode("utf-8", "replace") if name else "unknown"
            raise ReadError(
                found=f"{path}{found.name} is packed by the filter {code} ({label})",
                needed="a filter that is installed",
                do="install it: pip install hdf5plugin, or repack with gzip",
            )


def _axes(found: "h5py.Dataset") -> str:
    """Axes by their labels where all are usual ones, else by their number."""
    tags = found.attrs.get("axistags")  # of ilastik: JSON
    labels = [str(dimension.label).lower() for dimension in found.dims]
    if isinstance(tags, (str, bytes)):
        try:
            labels = [str(axis["key"]).lower() for axis in json.loads(tags)["axes"]]
        except (ValueError, KeyError, TypeError):
            labels = []
    letters = "".join(labels)
    is_usual = len(labels) == len(letters) == found.ndim == len(set(letters))
    if is_usual and {"y", "x"} <= set(letters) <= set("tczyx"):
        return letters
    return IMAGE_AXES[found.ndim]


def _volume(address: Address, layout: _Layout, notes: list[str]) -> Volume:
    path = address.path
    stored = _Stored(path, layout.name)
    place = f"{path}{layout.name}"
    pixels = AxisPixels(stored, layout.axes, layout.shape, layout.dtype, place)
    spacing, unit, said = declared_spacing(layout.attributes, layout.axes)
    with grid_of(place):
        geometry = Geometry.from_spacing(pixels.shape[1:], spacing, unit)
    transform = canonical_transform(geometry)
    stat = path.stat()
    token = tokenize(str(path.resolve()), layout.name, stat.st_mtime_ns, stat.st_size)
    data = oriented(pixels, pixels.chunks(layout.chunks), transform, f"hdf5-{token}")
    if pixels.shape[0] > 1:
        said = (*said, f"{pixels.shape[0]} frames or channels taken as channels")
    source = Source(
        uri=str(Address(address.place, layout.name, address.frame)),
        format="hdf5",
        geometry=geometry,
        transform=transform,
        dtype=layout.dtype,
    )
    base = layout.name.rpartition("/")[2].lower()
    is_labels = base.startswith(_LABELS) and layout.dtype.kind in "biu"
    return Volume(
        levels=(data,),
        geometry=transform.apply_geometry(geometry),
        channels=default_channels(pixels.shape[0]),
        source=source,
        notes=(*notes, *said, SPATIAL_NOTE),
        segments=Segments() if is_labels else None,
        is_oriented=False,
    )


class _Stored:
    """A `StoredArray`: the file is opened when it is read."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._stamp = stamp_of(path.stat())
        self._file = KeptOpen(partial(_open, path))

    def read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return a part."""
        check_unchanged(self._path, self._stamp)
        with self._file.borrow() as file:
            part: NDArray[Any] = np.asarray(file[self._name][index])
        return part


def _open(path: Path) -> tuple[Any, Callable[[], None]]:
    file = _opened(path)
    return file, file.close
