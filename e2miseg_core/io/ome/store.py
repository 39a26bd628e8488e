"""Zarr stores: folders, zip files and URLs, opened to a node."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import zarr
import zarr.storage

from e2miseg_core.errors import ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.axes import faults
from e2miseg_core.io.ome.codecs import use_checked_codecs
from e2miseg_core.io.ome.image import inner_path
from e2miseg_core.io.remote.address import name_of

__all__ = [
    "Node",
    "attributes_of",
    "is_zarr",
    "is_zipped_zarr",
    "open_node",
    "token_of",
    "unreadable",
]

Node: TypeAlias = "zarr.Array[Any] | zarr.Group"

_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_MOST_MEMBER_BYTES = 2 << 30  # of a zip file: a member is unpacked whole

use_checked_codecs()  # also in a process that only unpickles what reads voxels


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    return any((path / marker).is_file() for marker in _MARKERS)


def is_zipped_zarr(path: Path) -> bool:
    """Whether a zip file holds a zarr array or group."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _zip_root(archive) is not None
    except faults():
        return False


def open_node(address: Address) -> Node:
    """Open the array or group at an address, without reading voxels.

    Raises
    ------
    ReadError
        If there is none, or its metadata is damaged.
    """
    store, root = _store(address)
    part = inner_path(name_of(address), address.part)
    path = "/".join(step for step in (root, part) if step)
    try:
        with warnings.catch_warnings():
            # Of types without a specification: they are refused further on.
            warnings.simplefilter("ignore")
            return zarr.open(store, path=path, mode="r")
    except FileNotFoundError as error:
        raise ReadError(
            found=f"{name_of(address)} holds no zarr array or group",
            needed="zarr.json (zarr 3), or .zarray or .zgroup (zarr 2)",
            do="check the address and the part, or copy the whole folder again",
        ) from error
    except ReadError:
        raise
    except faults() as error:
        raise unreadable(address, error) from error


def attributes_of(node: Node) -> dict[str, Any]:
    """Attributes of an array or group; none where they are no mapping."""
    stored: Any = node.metadata.attributes
    return dict(stored) if isinstance(stored, Mapping) else {}


def unreadable(address: Address, error: BaseException) -> ReadError:
    """Tell what a library made of a damaged store."""
    return ReadError(
        found=f"{name_of(address)} is damaged or of another kind "
        f"({type(error).__name__}: {error!s:.300})",
        needed="a whole zarr store",
        do="copy or export it again",
    )


def token_of(address: Address, array: "zarr.Array[Any]") -> tuple[Any, ...]:
    """Differs between stores, and after a store was written anew."""
    if address.is_remote:
        return address.place, array.path, str(array.metadata.to_dict())
    path = address.path.resolve()
    files = [path] if path.is_file() else []
    for folder in {path, path / address.part, path / array.path}:
        files += [folder / marker for marker in _MARKERS]
    times = sorted(file.stat().st_mtime_ns for file in files if file.is_file())
    return str(path), array.path, times


def _store(address: Address) -> tuple[Any, str]:
    """Return what zarr opens, and the path of the image's root in it."""
    if address.is_remote:
        from e2miseg_core.io.remote.store import UrlStore

        return UrlStore(address.place), ""
    path = address.path
    if path.is_file():
        return _zip_store(path)
    if not is_zarr(path):
        raise ReadError(
            found=f"{path} is " + ("no zarr store" if path.exists() else "missing"),
            needed="a folder with zarr.json (zarr 3) or .zgroup (zarr 2)",
            do="check the path, or copy the whole folder again",
        )
    return str(path), ""


def _zip_store(path: Path) -> tuple[Any, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            root = _zip_root(archive)
            largest = max((info.file_size for info in archive.infolist()), default=0)
    except faults() as error:
        raise unreadable(Address(str(path)), error) from error
    if root is None or largest > _MOST_MEMBER_BYTES:
        what = "holds no zarr" if root is None else f"has a member of {largest} bytes"
        raise ReadError(
            found=f"{path} {what}",
            needed="a zip file of a zarr store, its members below 2 GiB",
            do="check the file, or export it again",
        )
    return zarr.storage.ZipStore(path, mode="r"), root


def _zip_root(archive: zipfile.ZipFile) -> str | None:
    """Folder of the topmost marker: some pack the folder, some what is in it."""
    found = [
        name.rpartition("/")[0]
        for name in archive.namelist()
        if name.rpartition("/")[2] in _MARKERS
    ]
    return min(
        found, key=lambda name: (name.count("/") + bool(name), name), default=None
    )
