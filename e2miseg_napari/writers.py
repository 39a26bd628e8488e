"""npe2 writer: a labels layer as a file on the exact grid of its image."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from e2miseg_core.errors import GeometryError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import write_labels
from e2miseg_core.volume import Volume
from e2miseg_napari.convert import KEY, reopen

__all__ = ["image_grid", "write_labels_layer"]


def write_labels_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one labels layer; napari has asked about an existing file already.

    Parameters
    ----------
    path : str
        Ends in a suffix that can be written.
    data : array, shape (Z, Y, X)
        Labels; of a multiscale layer the levels.
    attributes : dict
        The layer's options, as napari hands them over.

    Returns
    -------
    list of str
        The path written.

    Raises
    ------
    ReadError, WriteError, GeometryError
        In one line, what is wrong and what to do.
    Cancelled
        If the user did while the image was looked at once more.
    """
    labels = data[0] if attributes.get("multiscale") else data
    own = attributes.get("metadata", {}).get(KEY) or {}
    written = write_labels(
        labels,
        Path(path),
        like=image_grid(labels.shape, own, attributes),
        names=own.get("names") or _names_in(attributes),
        colors=own.get("colors") or _colors_in(attributes),
        overwrite=True,
    )
    if own:
        own["saved"] = str(written)
    return [str(written)]


def image_grid(
    shape: tuple[int, ...], own: Mapping[str, Any], attributes: Mapping[str, Any]
) -> Volume:
    """Volume whose grid a labels layer belongs to.

    A layer that knows its image lies on that; any other one on a canonical grid with
    the layer's spacing, which is all that is known of it.
    """
    source = own.get("image") or own.get("uri")  # of a segmentation its own file
    if source:
        return _reopened(source, own["geometry"])
    if len(shape) != 3:
        raise GeometryError(
            found=f"a labels layer with {len(shape)} axes",
            needed="the axes z, y, x",
            do="split the layer (Layers > Data > Split Stack) and save its parts",
        )
    spacing = [abs(float(step)) for step in attributes.get("scale", (1.0, 1.0, 1.0))]
    canonical = Volume.from_array(
        da.zeros(shape, dtype=np.uint8), Geometry.from_spacing(shape, spacing)
    )
    return replace(canonical, is_oriented=False)


def _reopened(uri: str, geometry: Mapping[str, Any]) -> Volume:
    """Open an image again, which takes long for a folder of many DICOM files."""
    from e2miseg_napari.waiting import live_window, wait_for

    window = live_window()
    if window is None:
        return reopen(uri, geometry)
    return wait_for(lambda *_: reopen(uri, geometry), window, what="saving")


def _names_in(attributes: Mapping[str, Any]) -> dict[int, str]:
    """Names that the user, or another plugin, gave to labels."""
    features = attributes.get("features")
    if features is None or not {"index", "name"} <= set(features):
        return {}
    pairs = zip(features["index"], features["name"], strict=True)
    return {int(value): str(name) for value, name in pairs if int(value) > 0}


def _colors_in(attributes: Mapping[str, Any]) -> dict[int, tuple[int, int, int]]:
    """Colours that somebody chose; those that napari repeats mean nothing."""
    chosen = getattr(attributes.get("colormap"), "color_dict", None) or {}
    colors = {}
    for value, rgba in chosen.items():
        if value:  # 0 is background, None all others
            red, green, blue = (round(255 * float(part)) for part in rgba[:3])
            colors[int(value)] = (red, green, blue)
    return colors
