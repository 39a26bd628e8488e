"""Copying the voxels of a foreign format; runs in a guarded child process only."""

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.cache.folder import check_room, telling_of_the_cache

__all__ = ["ForeignImage", "copy_voxels"]

_SLAB_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class ForeignImage:
    """An image as a library presents it.

    Attributes
    ----------
    voxels : array_like
        Answers slices; shape (X, Y, Z, ...), the further axes become channels.
    affine : ndarray, shape (4, 4)
        Maps (x, y, z, 1) to RAS+ in `unit`.
    placement : str
        Where the affine comes from, for messages.
    stored_dtype : numpy.dtype
        In the file.
    spacing : tuple of float or None
        Along X, Y, Z, where the header states it apart.
    unit : str
        Of length.
    """

    voxels: Any
    affine: NDArray[np.float64]
    placement: str
    stored_dtype: np.dtype[Any]
    spacing: tuple[float, ...] | None = None
    unit: str = "mm"


def copy_voxels(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write all voxels of a file, plain, and return what its header says.

    Parameters
    ----------
    request : mapping
        ``path``; ``opener``, the ``module:function`` that makes a `ForeignImage` of it;
        ``largest``, the bytes of voxels that its size allows; ``voxels``, the name of
        the copy.
    folder : Path
        Gets the copy: (C, Z, Y, X), little-endian.
    """
    warnings.simplefilter("ignore")  # there is nobody to see them
    path = Path(request["path"])
    module, _, name = request["opener"].partition(":")
    image: ForeignImage = getattr(importlib.import_module(module), name)(path)
    shape = _checked_shape(path, image, request["largest"])
    sample = np.asarray(image.voxels[:1, :1, :1])
    dtype = _kept_dtype(path, sample.dtype, image.stored_dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    with telling_of_the_cache(nbytes):
        check_room(nbytes)
    with (folder / request["voxels"]).open("xb") as file:
        for slab in _slabs(image.voxels, shape, dtype.itemsize):
            file.write(np.ascontiguousarray(slab.T, dtype=dtype).data)
    channels = math.prod(shape[3:])
    notes = []
    if channels > 1:
        notes.append(f"{channels} frames or values a voxel taken as channels")
    if dtype.kind != image.stored_dtype.kind:
        notes.append(f"stored values scaled, as {dtype.name}")
    return {
        "shape": [channels, shape[2], shape[1], shape[0]],
        "dtype": dtype.str,
        "stored_dtype": image.stored_dtype.str,
        "affine": np.asarray(image.affine, np.float64)[:, [2, 1, 0, 3]].tolist(),
        "spacing": None if image.spacing is None else list(image.spacing[::-1]),
        "placement": image.placement,
        "unit": image.unit,
        "notes": notes,
    }


def _checked_shape(path: Path, image: ForeignImage, largest: int) -> tuple[int, ...]:
    shape = tuple(int(size) for size in image.voxels.shape)
    if len(shape) < 3 or min(shape) < 1:
        raise ReadError(
            found=f"{path} has the dimensions {shape}",
            needed="3 or more, each of at least 1",
            do="export the file again",
        )
    needed = math.prod(shape) * image.stored_dtype.itemsize
    if needed > largest:
        raise ReadError(
            found=f"{path} is cut off: it can hold {largest} bytes of voxels",
            needed=f"{needed} bytes for {shape} voxels of {image.stored_dtype.name}",
            do="copy or export the file again",
        )
    return shape


def _kept_dtype(
    path: Path, read: np.dtype[Any], stored: np.dtype[Any]
) -> np.dtype[Any]:
    """Real numbers that a library made of whole ones by scaling become float32."""
    if read.kind not in "biuf" or read.itemsize > 8:
        raise ReadError(
            found=f"{path} holds values of the type {stored}",
            needed="whole or real numbers of at most 64 bits",
            do="export the file again, as int16 or float32",
        )
    if read.kind == "b":
        return np.dtype("u1")
    is_scaled = read.kind == "f" and stored.kind != "f"
    return np.dtype("<f4") if is_scaled else read.newbyteorder("<")


def _slabs(voxels: Any, shape: Sequence[int], itemsize: int) -> Iterator[NDArray[Any]]:
    """Planes (X, Y, n) of each channel, the first further axis running fastest."""
    step = max(1, _SLAB_BYTES // max(1, shape[0] * shape[1] * itemsize))
    for last in np.ndindex(*shape[:2:-1]):
        for start in range(0, shape[2], step):
            planes = slice(start, min(start + step, shape[2]))
            yield np.asarray(voxels[(slice(None), slice(None), planes, *last[::-1])])
