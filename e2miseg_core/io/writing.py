"""Writing labels and images: streamed, checked by reading back, all or nothing."""

import os
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from e2miseg_core.errors import E2MISegError, GeometryError, ReadError, WriteError
from e2miseg_core.io.address import Address
from e2miseg_core.io.formats import Format, format_of, known_suffixes, split_suffix
from e2miseg_core.io.lazy import iter_slabs
from e2miseg_core.io.ome.store import is_zarr
from e2miseg_core.io.plan import Kind, WritePlan
from e2miseg_core.io.raw.pixels import reading_once
from e2miseg_core.io.sources import check_no_source, files_of, is_own_label_file
from e2miseg_core.volume import Volume

__all__ = ["check_place", "put_in_place", "write_image", "write_labels"]


def write_labels(
    labels: Any,
    path: str | Path,
    *,
    like: Volume,
    names: Mapping[int, str] | None = None,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    model: str = "",
    overwrite: bool = False,
) -> Path:
    """Write labels on the grid of the file that a volume came from.

    Parameters
    ----------
    labels : numpy, dask or zarr array, shape (Z, Y, X)
        Whole numbers from 0 on the canonical axes of `like`; never interpolated.
    path : str or Path
        Its suffix chooses the format.
    like : Volume
        Whose stored axes, affine, header codes and unit the file gets.
    names : mapping of int to str, optional
        Of the label values; kept by formats that can.
    colors : mapping of int to tuple of int, optional
        Of the label values, red, green, blue from 0 to 255; kept by formats that can.
    model : str
        Name of the model whose labels these are, where no human corrected them; kept
        by DICOM.
    overwrite : bool
        Whether an existing file may be replaced; never one that `like` is read from,
        unless that holds labels itself.

    Returns
    -------
    Path
        The file, read back and found equal, in the smallest unsigned type of up to
        32 bits that holds the largest value.

    Raises
    ------
    WriteError
        If the file exists, is what `like` is read from, cannot be written, or reads
        back differently; then no file is left, and an existing one is as it was.
    GeometryError
        If the shape is not that of `like`.
    """
    lazy = _as_dask(labels)
    if tuple(lazy.shape) != like.geometry.shape:
        raise _shape_error(lazy, like)
    dtype = _label_dtype(lazy)
    plan = replace(
        _plan(_cast(lazy, dtype), like, "labels"),
        names=dict(names or {}),
        colors=dict(colors or {}),
        model=model,
    )
    target = Path(path).expanduser()
    # A segmentation that was opened and corrected may be saved under its own name.
    if not is_own_label_file(target, like):
        check_no_source(target, files_of(like))
    return _write(plan, target, overwrite=overwrite)


def write_image(
    image: Any, path: str | Path, *, like: Volume, overwrite: bool = False
) -> Path:
    """Write an image on the grid of the file that a volume came from.

    Parameters
    ----------
    image : numpy, dask or zarr array, shape (Z, Y, X) or (C, Z, Y, X)
        On the canonical axes of `like`. Integers of up to 32 bits keep their type,
        longer ones become int32 or uint32, real numbers float32, true and false uint8.
    path : str or Path
        Its suffix chooses the format.
    like : Volume
        Whose stored axes, affine, header codes and unit the file gets.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file, read back and found equal.

    Raises
    ------
    WriteError
        As for `write_labels`, or if values do not fit into the type.
    GeometryError
        If the shape is not that of `like`.
    """
    lazy = _as_dask(image)
    if lazy.ndim not in (3, 4) or tuple(lazy.shape[-3:]) != like.geometry.shape:
        raise _shape_error(lazy, like)
    lazy = _as_image(lazy)
    channels: tuple[str, ...] = ()
    if lazy.ndim == 4:
        same = lazy.shape[0] == like.n_channels
        channels = like.channels if same else _numbered(lazy.shape[0])
    target = Path(path).expanduser()
    check_no_source(target, files_of(like))
    plan = _plan(lazy, like, "image", channels=channels)
    return _write(plan, target, overwrite=overwrite)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"channel {index}" for index in range(count))


def _as_dask(array: Any) -> da.Array:
    lazy = array
    if not isinstance(array, da.Array):
        chunks = getattr(array, "chunks", None) or "auto"
        lazy = da.from_array(  # type: ignore[no-untyped-call]
            array, chunks=chunks, name=False
        )
    return _cast(lazy, lazy.dtype.newbyteorder("="))


def _cast(array: da.Array, dtype: np.dtype[Any]) -> da.Array:
    cast: da.Array = array.astype(dtype)  # type: ignore[no-untyped-call]
    return cast


def _as_image(image: da.Array) -> da.Array:
    """Bring the voxels of an image to a type that every format holds."""
    if image.dtype.kind == "b":
        return _cast(image, np.dtype(np.uint8))
    if image.dtype.kind == "f" and image.dtype.itemsize > 4:
        single: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
            _in_single_precision,
            image,
            dtype=np.dtype(np.float32),
            meta=np.empty((0,) * image.ndim, np.float32),
        )
        return single
    if image.dtype.kind == "f":
        return _cast(image, np.dtype(np.float32))
    if image.dtype.kind not in "iu":
        raise WriteError(
            found=f"an image of type {image.dtype}",
            needed="whole or real numbers",
            do="take its magnitude or a part of it first",
        )
    if image.dtype.itemsize <= 4:
        return image
    lowest, highest = _range_of(image)
    for dtype in (np.dtype(np.int32), np.dtype(np.uint32)):
        limits = np.iinfo(dtype)
        if limits.min <= lowest and highest <= limits.max:
            return _cast(image, dtype)
    raise WriteError(
        found=f"whole numbers from {lowest} to {highest}",
        needed="those of 32 bits",
        do="convert the file to OME-Zarr, which keeps them, or scale them",
    )


def _in_single_precision(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):  # told by the error
        single = block.astype(np.float32)
    lost = np.isinf(single) & np.isfinite(block)
    if lost.any():
        raise WriteError(
            found=f"the value {block[lost].flat[0]:g}",
            needed="values within 3.4e38, which float32 holds",
            do="convert the file to OME-Zarr, which keeps them, or scale them",
        )
    return single


def _range_of(array: da.Array) -> tuple[int, int]:
    """Least and greatest whole number, and 0."""
    lowest, highest = 0, 0
    for _, slab in iter_slabs(array):
        lowest, highest = min(lowest, int(slab.min())), max(highest, int(slab.max()))
    return lowest, highest


def _shape_error(array: da.Array, like: Volume) -> GeometryError:
    return GeometryError(
        found=f"an array of shape {tuple(array.shape)}",
        needed=f"the grid of the volume, {like.geometry.shape}",
        do="write it beside the volume that it belongs to",
    )


def _label_dtype(labels: da.Array) -> np.dtype[Any]:
    if labels.dtype.kind == "b" or labels.dtype == np.uint8:
        return np.dtype(np.uint8)
    if labels.dtype.kind not in "iu":
        raise WriteError(
            found=f"labels of type {labels.dtype}",
            needed="whole numbers",
            do="take the most probable class of each voxel first",
        )
    lowest, highest = _range_of(labels)
    if lowest < 0 or highest > np.iinfo(np.uint32).max:
        raise WriteError(
            found=f"labels from {lowest} to {highest}",
            needed="values from 0 to 4294967295",
            do="renumber them",
        )
    return np.min_scalar_type(highest)


def _plan(
    data: da.Array,
    like: Volume,
    kind: Kind,
    *,
    channels: tuple[str, ...] = (),
) -> WritePlan:
    source = like.source
    return WritePlan(
        data=like.as_source(data),
        geometry=like.geometry if source is None else source.geometry,
        kind=kind,
        channels=channels,
        source_format="memory" if source is None else source.format,
        details={} if source is None else source.details,
        is_oriented=like.is_oriented,
    )


def _write(plan: WritePlan, path: Path, *, overwrite: bool) -> Path:
    target = format_of(path)
    if target is None or not target.writer:
        raise WriteError(
            found=f"the output name {path}",
            needed="an end of " + ", ".join(known_suffixes(writable=True)),
            do="choose another name",
        )
    check_place(path, target, overwrite=overwrite)
    suffix = split_suffix(path)[1]
    # Shorter than any name with this suffix that the user may choose.
    part = path.with_name(f".{secrets.token_hex(4)}.part{suffix}")
    with _all_or_nothing(part, path):
        checksum = target.write(plan, part)
        _verify(plan, part, target, checksum)
        put_in_place(part, path)
    return path


def check_place(path: Path, target: Format, *, overwrite: bool) -> None:
    """Raise WriteError unless an output may be written, or replaced, there."""
    if not path.parent.is_dir():
        raise WriteError(
            found=f"no folder {path.parent}",
            needed="an existing folder",
            do="make it first, or choose another one",
        )
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name too long, or with a NUL
        raise WriteError(
            found=f"the output name {path.name[:40]!r} ({error})"[:300],
            needed="a name that the file system takes",
            do="choose a shorter one",
        ) from error
    if path.exists() and not overwrite:
        raise WriteError(
            found=f"{path} exists",
            needed="a new name, or leave to replace it",
            do="choose another name, or overwrite it",
        )
    # Never remove what this program could not have written under this name.
    replaceable = is_zarr(path) if target.is_folder else path.is_file()
    if path.exists() and not replaceable:
        raise WriteError(
            found=f"{path} exists and is no {target.name}",
            needed=f"a new name, or that of an existing {target.name}",
            do="choose another name",
        )


@contextmanager
def _all_or_nothing(part: Path, path: Path) -> Iterator[None]:
    try:
        yield
    except E2MISegError:
        raise
    except OSError as error:
        raise WriteError(
            found=f"{path} cannot be written ({error.strerror or error})",
            needed="a folder with room and the right to write",
            do="free space or choose another folder",
        ) from error
    finally:
        _remove(part)  # gone already where all went well


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # must not hide why the writing failed
            path.unlink(missing_ok=True)


def _verify(plan: WritePlan, part: Path, target: Format, checksum: int) -> None:
    """Read the file back, and compare grid, type and voxels."""
    try:
        with reading_once():
            volume = target.read(Address(str(part)))
        found = _difference(plan, volume, checksum)
    except (ReadError, GeometryError) as error:
        found = error.found
    if found:
        raise WriteError(
            found=f"{found} after reading the written file back",
            needed="what was written",
            do="check the disk, or write to another one",
        )


def _difference(plan: WritePlan, volume: Volume, checksum: int) -> str:
    source = volume.source
    if source is None or not source.geometry.matches(plan.geometry):
        return "another grid"
    if volume.dtype != plan.dtype:
        return f"the type {volume.dtype}"
    if (volume.n_channels,) != (plan.data.shape[:-3] or (1,)):
        return f"{volume.n_channels} channels"
    again = 0
    for _, slab in iter_slabs(volume.as_source(volume.data)):
        again = zlib.crc32(slab.data.cast("B"), again)
    return "" if again == checksum else "other voxels"


def put_in_place(part: Path, path: Path) -> None:
    """Give what is whole its final name, in the place of what bears it."""
    if part.is_file():
        with part.open("rb") as file:
            os.fsync(file.fileno())
    if part.is_file() or not path.exists():
        part.replace(path)
        return
    # A folder cannot be replaced in one step: the old one waits under another name.
    old = path.with_name(f".{secrets.token_hex(4)}.old")
    path.replace(old)
    try:
        part.replace(path)
    except OSError:
        old.replace(path)
        raise
    _remove(old)
