"""The levels of an OME-Zarr image: opened, and left out where they do not fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr

from e2miseg_core.errors import ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.axes import checked_array, faults
from e2miseg_core.io.ome.image import OmeImage
from e2miseg_core.io.remote.address import name_of

__all__ = ["check_level", "levels_of"]


def levels_of(
    address: Address, group: "zarr.Group", image: OmeImage
) -> tuple[list["zarr.Array[Any]"], list[str]]:
    """Open the arrays; coarser levels that do not fit the finest one are left out."""
    finest = _level(address, group, image.paths[0], image.axes)
    arrays, notes = [finest], []
    for path, scale in zip(image.paths[1:], image.scales[1:], strict=True):
        try:
            array = _level(address, group, path, image.axes)
            problem = _misfit(image, arrays, array, scale)
        except ReadError as error:
            problem = error.found
        if problem:
            notes.append(f"level {path} left out: {problem}")
        else:
            arrays.append(array)
    return arrays, notes


def _level(
    address: Address, group: "zarr.Group", name: str, axes: Sequence[str]
) -> "zarr.Array[Any]":
    place = name_of(address)
    missing = ReadError(
        found=f"{place} has no readable array of {len(axes)} axes at {name!r}",
        needed="the levels that its metadata lists",
        do="copy the whole folder again",
    )
    try:
        array = group[name]
    except ReadError:
        raise
    except faults() as error:
        raise missing from error
    if not isinstance(array, zarr.Array) or array.ndim != len(axes):
        raise missing
    check_level(address, array, axes)
    return array


def check_level(
    address: Address, array: "zarr.Array[Any]", axes: Sequence[str]
) -> None:
    """Refuse an array whose size, chunks or type cannot be.

    Raises
    ------
    ReadError
        As `axes.checked_array` does.
    """
    # The pieces to read are inner chunks; of a shard only its index is read whole.
    checked_array(name_of(address), axes, array.shape, array.dtype, array.chunks)
    if array.shards is not None:
        index = [s // c for s, c in zip(array.shards, array.chunks, strict=True)]
        checked_array(name_of(address), axes, index, np.dtype("u8"), index)


def _misfit(
    image: OmeImage,
    finer: Sequence["zarr.Array[Any]"],
    array: "zarr.Array[Any]",
    scale: Sequence[float] | None,
) -> str:
    """Say why a level cannot stand for the finest one, empty if it can."""
    finest, shape = finer[0], array.shape
    if array.dtype != finest.dtype:
        return f"its type is {array.dtype}, not {finest.dtype}"
    for index, axis in enumerate(image.axes):
        is_space = axis in "zyx"
        most = finer[-1].shape[index]
        if shape[index] > most or (not is_space and shape[index] != most):
            return f"shape {shape} after {finer[-1].shape}"
        first = image.scales[0]
        if is_space and scale is not None and first is not None:
            extent = finest.shape[index] * first[index]
            # Parts of voxels may be rounded up or down.
            if abs(shape[index] * scale[index] - extent) > 1.001 * scale[index]:
                return f"shape {shape} with scale {list(scale)} is of another extent"
    return ""
