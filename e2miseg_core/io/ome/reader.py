"""Reading of OME-Zarr 0.4 and 0.5, of bare zarr arrays, and of groups of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import zarr
from dask.base import tokenize
from numpy.typing import NDArray

from e2miseg_core.errors import ChoiceError, GeometryError, ReadError
from e2miseg_core.geometry import AxisTransform, Geometry, canonical_transform
from e2miseg_core.io.address import Address
from e2miseg_core.io.axes import SPATIAL_NOTE, AxisPixels, faults
from e2miseg_core.io.declared_spacing import declared_spacing
from e2miseg_core.io.grid import grid_of
from e2miseg_core.io.lazy import oriented
from e2miseg_core.io.ome.collections import images_in, label_names
from e2miseg_core.io.ome.image import OmeImage, ome_of, parse_image, parse_segments
from e2miseg_core.io.ome.levels import check_level, levels_of
from e2miseg_core.io.ome.store import attributes_of, open_node, token_of
from e2miseg_core.io.ome.tasks import let_tasks_end
from e2miseg_core.io.remote.address import name_of
from e2miseg_core.volume import Source, Volume, default_channels

__all__ = ["read_zarr"]

_BARE_AXES = {3: "zyx", 4: "czyx", 5: "tczyx"}


def read_zarr(address: Address) -> Volume:
    """Open an OME-Zarr image, or a zarr array, without reading its voxels.

    Parameters
    ----------
    address : Address
        Folder, zip file or URL of an image's group, of an array or of a collection;
        its part is a path inside, such as "labels/cells" or "A/1/0".

    Returns
    -------
    Volume
        With all levels of the image. Time points become channels.

    Raises
    ------
    ChoiceError
        If there are several images.
    ReadError
        If there is none, or it is damaged.
    GeometryError
        If its grid is unusable.
    """
    node = open_node(address)
    if isinstance(node, zarr.Array):
        return _bare(address, node)
    attributes = attributes_of(node)
    if "multiscales" in ome_of(attributes):
        return _image(address, node, attributes)
    choices = [] if "e2miseg" in attributes else images_in(address, node)
    if not choices:  # this says what is missing
        return _image(address, node, attributes)
    if len(choices) > 1:
        whole = name_of(Address(address.place))
        raise ChoiceError.among(whole, "images or labels", choices)
    return read_zarr(Address(address.place, choices[0].part, address.frame))


def _image(
    address: Address, group: "zarr.Group", attributes: Mapping[str, Any]
) -> Volume:
    image = parse_image(name_of(address), attributes)
    arrays, notes = levels_of(address, group, image)
    own = attributes.get("e2miseg")
    own = own if isinstance(own, Mapping) else {}
    pixels = [_pixels(address, array, image.axes) for array in arrays]
    geometry, grid_notes = _geometry(address, image, own, pixels[0].shape[1:])
    names = label_names(group)
    if names:
        notes.append(f"it has labels: part=labels/{', part=labels/'.join(names)}")
    transform = canonical_transform(geometry)
    source = Source(
        uri=name_of(address),
        format="ome-zarr",
        geometry=geometry,
        transform=transform,
        dtype=arrays[0].dtype,
        details={key: own[key] for key in ("kind", "labels") if key in own},
    )
    channels, channel_notes = _channels(image, own, arrays[0].shape)
    return Volume(
        levels=tuple(
            _lazy(address, array, level, transform)
            for array, level in zip(arrays, pixels, strict=True)
        ),
        geometry=transform.apply_geometry(geometry),
        channels=channels,
        source=source,
        notes=(*image.notes, *grid_notes, *channel_notes, *notes),
        segments=parse_segments(ome_of(attributes), own, arrays[0].dtype),
        is_oriented=own.get("oriented", True) is True
        if "geometry" in own
        else image.directions is not None,
    )


def _bare(address: Address, array: "zarr.Array[Any]") -> Volume:
    axes = _named_axes(array)
    if axes is None:
        raise ReadError(
            found=f"{name_of(address)} is a zarr array of shape {array.shape}",
            needed="(Z, Y, X) or (C, Z, Y, X), or an OME-Zarr image",
            do="open the group that holds the image",
        )
    check_level(address, array, axes)
    pixels = _pixels(address, array, axes)
    attributes = attributes_of(array)
    spacing, unit, notes = declared_spacing(attributes, axes)
    with grid_of(name_of(address)):
        geometry = Geometry.from_spacing(pixels.shape[1:], spacing, unit)
    transform = canonical_transform(geometry)
    source = Source(
        uri=name_of(address),
        format="zarr",
        geometry=geometry,
        transform=transform,
        dtype=array.dtype,
    )
    return Volume(
        levels=(_lazy(address, array, pixels, transform),),
        geometry=transform.apply_geometry(geometry),
        channels=default_channels(pixels.shape[0]),
        source=source,
        notes=("a zarr array without metadata of an image", *notes, SPATIAL_NOTE),
        is_oriented=False,
    )


def _named_axes(array: "zarr.Array[Any]") -> str | None:
    """Axes by their names where all are usual ones, else by their number."""
    named = getattr(array.metadata, "dimension_names", None)
    named = named or attributes_of(array).get("_ARRAY_DIMENSIONS")  # as xarray has it
    if isinstance(named, Sequence) and len(named) == array.ndim:
        letters = "".join(str(name).lower() for name in named)
        is_usual = len(letters) == array.ndim and len(set(letters)) == array.ndim
        if is_usual and {"y", "x"} <= set(letters) <= set("tczyx"):
            return letters
    return _BARE_AXES.get(array.ndim)


def _geometry(
    address: Address, image: OmeImage, own: Mapping[str, Any], shape: Sequence[int]
) -> tuple[Geometry, list[str]]:
    with grid_of(name_of(address)):
        if "geometry" not in own:
            notes = [] if image.directions is not None else [SPATIAL_NOTE]
            return image.geometry(shape), notes
        geometry = Geometry.from_json(own["geometry"])
    if geometry.shape != tuple(shape):
        found = f"{tuple(shape)} voxels but a grid of {geometry.shape}"
        raise GeometryError(
            found=f"{name_of(address)} has {found}",
            needed="the grid of its voxels",
            do="write the store again",
        )
    return geometry, []


def _channels(
    image: OmeImage, own: Mapping[str, Any], shape: Sequence[int]
) -> tuple[tuple[str, ...], list[str]]:
    sizes = dict(zip(image.axes, shape, strict=True))
    count = int(np.prod([size for axis, size in sizes.items() if axis not in "zyx"]))
    times = sizes.get("t", 1)
    stated = own.get("channels", image.channels)
    names = tuple(map(str, stated)) if isinstance(stated, Sequence) else ()
    if times > 1 and len(names) * times == count:
        names = tuple(f"{name}, time {time}" for time in range(times) for name in names)
    if len(names) != count:
        names = default_channels(count)
    if times == 1:
        return names, []
    return names, [f"time points taken as channels: {count} in all"]


class _Stored:
    """A `StoredArray` over zarr's."""

    def __init__(self, array: "zarr.Array[Any]") -> None:
        self._array = array

    def read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        try:
            return np.asarray(self._array[index])
        except faults():
            let_tasks_end()
            raise


def _pixels(
    address: Address, array: "zarr.Array[Any]", axes: Sequence[str]
) -> AxisPixels:
    return AxisPixels(
        _Stored(array),
        axes,
        array.shape,
        array.dtype,
        name_of(address),
        grid=array.chunks,
    )


def _lazy(
    address: Address,
    array: "zarr.Array[Any]",
    pixels: AxisPixels,
    transform: AxisTransform,
) -> da.Array:
    token = tokenize(token_of(address, array))
    return oriented(pixels, pixels.chunks(array.chunks), transform, f"zarr-{token}")
