"""Volumes to napari layers and back: the only module that knows both.

Layers get scale and translation only. napari draws any other affine wrongly or not at
all, so a volume is shown along its own canonical axes, with the exact grid kept under
the key ``e2miseg`` of the layer's metadata.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from napari.layers import Image, Layer

from e2miseg_core.errors import GeometryError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume
from e2miseg_core.io.naming import suggested_name
from e2miseg_core.volume import Segments, Volume
from e2miseg_napari.contrast import is_packed, sampled_contrast
from e2miseg_napari.segment_layers import segment_options
from e2miseg_napari.shown_level import shown_level

__all__ = [
    "AXES",
    "KEY",
    "LayerData",
    "check_grid",
    "display_transform",
    "geometry_of",
    "grid_of",
    "image_layers",
    "make_layer",
    "own_metadata",
    "reopen",
]

KEY = "e2miseg"
AXES = ("z", "y", "x")

LayerData: TypeAlias = tuple[Any, dict[str, Any], Literal["image", "labels"]]

# More channels than this are a series (time, echoes): one layer with a slider.
_MOST_LAYERS = 8
_LARGE_BYTES = 1 << 30  # the disk's cache may not hold more
_COLORS = ("red", "green", "blue")  # channels of these names are a picture in colour


def image_layers(volume: Volume) -> list[LayerData]:
    """Layer data of an opened volume, lazy.

    Parameters
    ----------
    volume : Volume
        From `e2miseg_core.io.open_volume`.

    Returns
    -------
    list of (data, options, "image" or "labels")
        One a channel; the first is shown, of red, green and blue all. More than eight
        channels become a single layer whose first axis they are. Labels where the file
        says that its voxels are labels.
    """
    if volume.segments is not None:
        return [_labels_layer(volume, channel) for channel in range(volume.n_channels)]
    if volume.n_channels > _MOST_LAYERS:
        return [_series_layer(volume)]
    return [_image_layer(volume, channel) for channel in range(volume.n_channels)]


def _image_layer(volume: Volume, channel: int) -> LayerData:
    contrast = sampled_contrast(volume, channel)
    options = _common_options(volume, channel) | {
        "contrast_limits": contrast.limits,
        "colormap": "gray",
        "visible": channel == 0,
    }
    options["metadata"][KEY]["range"] = contrast.range
    options["metadata"][KEY]["few_values"] = contrast.few_values
    if tuple(name.lower() for name in volume.channels) == _COLORS:
        # Added up they are the colours of the file, whatever its size and levels.
        full = np.iinfo(volume.dtype).max if volume.dtype.kind == "u" else None
        options |= {
            "colormap": _COLORS[channel],
            "blending": "additive",
            "visible": True,
            "contrast_limits": (0, full) if full else options["contrast_limits"],
        }
    return _levels(volume, channel), options, "image"


def _labels_layer(volume: Volume, channel: int) -> LayerData:
    described = volume.segments or Segments()
    segments = described.of_channel(channel)
    shift = channel if described.channels else 0
    options = _common_options(volume, channel) | segment_options(segments, shift)
    own = options["metadata"][KEY]
    own |= {"role": "segmentation", "names": dict(segments.names)}
    own["colors"] = {value: tuple(rgb) for value, rgb in segments.colors.items()}
    return _levels(volume, channel), options, "labels"


def _levels(volume: Volume, channel: int) -> Any:
    levels = [shown_level(level, channel) for level in volume.levels]
    return levels if len(levels) > 1 else levels[0]


def _common_options(volume: Volume, channel: int) -> dict[str, Any]:
    name = _name(volume)
    if volume.n_channels > 1:
        name = f"{name}: {volume.channels[channel]}"
    return display_transform(volume.geometry) | {
        "name": name,
        "multiscale": len(volume.levels) > 1,
        "metadata": {KEY: _describe(volume, channel)},
    }


def make_layer(data: LayerData) -> Layer:
    """Make a layer whose sliders reach all values that are known of it."""
    layer = Layer.create(*data)
    known = own_metadata(layer).get("range")
    if known is not None:
        layer.contrast_limits_range = known
    return layer


def display_transform(geometry: Geometry) -> dict[str, Any]:
    """Where napari draws a grid: millimetres towards S, P and L, rotation left out."""
    right, anterior, superior = geometry.affine[:3, 3]
    return {
        "scale": geometry.spacing,
        "translate": (float(superior), -float(anterior), -float(right)),
        "units": (geometry.unit,) * 3,
        "axis_labels": AXES,
    }


def own_metadata(layer: Layer) -> Mapping[str, Any]:
    """What this plugin wrote into a layer's metadata; empty for other layers."""
    stored = layer.metadata.get(KEY)
    return stored if isinstance(stored, Mapping) else {}


def reopen(uri: str, geometry: Mapping[str, Any]) -> Volume:
    """Open a layer's volume again; of a DICOM folder all headers are read again.

    Raises
    ------
    ReadError
        If the file has gone, or is another one by now.
    """
    volume = open_volume(uri)
    if not volume.geometry.matches(Geometry.from_json(geometry)):
        raise ReadError(
            found=f"{uri} lies on another grid than when it was opened",
            needed="the same file",
            do="open it again",
        )
    return volume


def geometry_of(layer: Layer) -> Geometry:
    """Grid of a layer that did not come from our reader.

    Its axes are taken as canonical: nothing says how it lies in the patient.

    Raises
    ------
    GeometryError
        If the layer cannot be a volume.
    """
    check_grid(layer)
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    factor, unit = _length_unit(str(layer.units[-1]))
    stretch = np.diag(np.asarray(layer.affine.linear_matrix))
    spacing = np.abs(np.asarray(layer.scale) * stretch)[-3:] * factor
    return Geometry.from_spacing(data.shape, tuple(map(float, spacing)), unit)


def check_grid(layer: Layer) -> None:
    """Refuse layers that are no volume on an upright grid.

    Raises
    ------
    GeometryError
        With the reason and the remedy.
    """
    own = own_metadata(layer)
    if getattr(layer, "rgb", False) or not (layer.ndim == 3 or own):
        raise GeometryError(
            found=f"layer {layer.name!r} has "
            + ("colours" if getattr(layer, "rgb", False) else f"{layer.ndim} axes"),
            needed="a volume with the axes z, y, x",
            do="split the layer (Layers > Data > Split Stack) and choose one part",
        )
    linear = np.asarray(layer.affine.linear_matrix)
    turned = linear - np.diag(np.diag(linear))
    rotated = np.asarray(layer.rotate) - np.eye(layer.ndim)
    for matrix in (turned, rotated, np.atleast_1d(layer.shear)):
        if np.abs(matrix).max() > 1e-6:
            raise GeometryError(
                found=f"layer {layer.name!r} is rotated or sheared in the viewer",
                needed="a layer that is only shifted and scaled",
                do="reset it with the layer's transform tool, or open the file anew",
            )


def grid_of(layer: Image) -> dict[str, Any]:
    """Options that put a result layer exactly over an image layer."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(layer.affine.linear_matrix)[-3:, -3:]
    affine[:3, 3] = np.asarray(layer.affine.translate)[-3:]
    return {
        "scale": tuple(layer.scale[-3:]),
        "translate": tuple(layer.translate[-3:]),
        "affine": affine,
        "units": tuple(layer.units[-3:]),
        "axis_labels": tuple(layer.axis_labels[-3:]),
    }


def _series_layer(volume: Volume) -> LayerData:
    space = display_transform(volume.geometry)
    # The first frame is often taken before the contrast agent comes.
    contrast = sampled_contrast(volume, volume.n_channels // 2)
    own = _describe(volume, None) | {"range": contrast.range}
    options = {
        "name": _name(volume),
        "scale": (1.0, *space["scale"]),
        "translate": (0.0, *space["translate"]),
        "units": ("pixel", *space["units"]),
        "axis_labels": ("channel", *AXES),
        "contrast_limits": contrast.limits,
        "colormap": "gray",
        "multiscale": len(volume.levels) > 1,
        "metadata": {KEY: own},
    }
    levels = list(volume.levels)
    return (levels if len(levels) > 1 else levels[0], options, "image")


def _describe(volume: Volume, channel: int | None) -> dict[str, Any]:
    source = volume.source
    stored = volume.geometry if source is None else source.geometry
    return {
        "role": "image",
        "uri": "" if source is None else source.uri,
        "format": "memory" if source is None else source.format,
        "geometry": volume.geometry.to_json(),
        "affine": stored.affine_xyz.tolist(),  # as in the file: (x, y, z, 1) to RAS+
        "orientation": stored.orientation,
        "oblique": volume.geometry.is_oblique,
        "oriented": volume.is_oriented and volume.geometry.unit == "mm",
        "slow": _is_slow(volume),
        "channel": channel,
        "channels": list(volume.channels),
        "notes": list(volume.notes),
    }


def _is_slow(volume: Volume) -> bool:
    """Whether reading a slice may take longer than a user notices."""
    remote = volume.source is not None and "://" in volume.source.uri
    packed = volume.preparation is not None or is_packed(volume)
    return remote or packed or volume.nbytes > _LARGE_BYTES


def _name(volume: Volume) -> str:
    if volume.source is None or not volume.source.uri:
        return "volume"
    return suggested_name(volume.source.uri)


def _length_unit(name: str) -> tuple[float, str]:
    """Factor and unit of ours for a unit of napari; pixels are taken as mm."""
    known = {
        "millimeter": (1.0, "mm"),
        "micrometer": (1.0, "um"),
        "nanometer": (1.0, "nm"),
        "centimeter": (10.0, "mm"),
        "meter": (1000.0, "mm"),
    }
    return known.get(name, (1.0, "mm"))
