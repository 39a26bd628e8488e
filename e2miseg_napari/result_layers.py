"""The two layers of a prediction: labels, and the chance that each voxel is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import zarr
from napari.layers import Image, Labels
from napari.utils.colormaps import Colormap, DirectLabelColormap

from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.convert import KEY, grid_of

__all__ = [
    "HIDDEN_BELOW",
    "TOP",
    "ResultLayers",
    "error_colormap",
    "make_result_layers",
]

HIDDEN_BELOW = 0.05  # chance of error that is not worth a look
TOP = 0.6  # chance of error with the strongest colour
_UNKNOWN_LABEL = "white"  # a label that the model's card does not list
# Pink to magenta: models colour their classes orange, yellow and red, never so.
_STOPS = ((1.0, 0.6, 1.0, 0.35), (1.0, 0.0, 0.8, 0.9))
_HIDDEN = (0.0, 0.0, 0.0, 0.0)


class ResultLayers(NamedTuple):
    """The layers of one prediction, from bottom to top."""

    labels: Labels
    error_map: Image


def error_colormap() -> Colormap:
    """Nothing below `HIDDEN_BELOW`, then from pink to magenta at `TOP`."""
    edge = HIDDEN_BELOW / TOP
    return Colormap(
        [_HIDDEN, _HIDDEN, *_STOPS],
        controls=[0.0, edge, edge, 1.0],
        name="chance of error",
    )


def make_result_layers(
    image: Image,
    stores: Mapping[str, str],
    classes: Sequence[LabelInfo],
    metadata: Mapping[str, Any],
) -> ResultLayers:
    """Layers over the stores that a job fills, exactly above the image.

    The arrays are handed over as they are: dask would go on showing what a chunk held
    when it was first read, and painting writes straight into the store.

    Parameters
    ----------
    image : Image
        Layer that the prediction is about.
    stores : mapping
        Paths of the OME-Zarr stores ``labels`` and ``error_map``.
    classes : sequence of LabelInfo
        Without the background.
    metadata : mapping
        Kept with both layers under this plugin's key; their names end with its
        "title".
    """
    title = metadata["title"]
    arrays = {
        role: zarr.open_array(path, path="0", mode="r+" if role == "labels" else "r")
        for role, path in stores.items()
    }
    colors: dict[int | None, Any] = {None: _UNKNOWN_LABEL, 0: "transparent"}
    colors |= {item.value: item.color for item in classes}
    labels = Labels(
        arrays["labels"],
        name=f"labels: {title}",
        colormap=DirectLabelColormap(color_dict=colors),
        features=_features(classes),
        opacity=0.5,
        metadata={KEY: {**metadata, "role": "labels", "store": stores["labels"]}},
        **grid_of(image),
    )
    error_map = Image(
        arrays["error_map"],
        name=f"error map: {title}",
        colormap=error_colormap(),
        contrast_limits=(0, 255),
        blending="translucent",
        interpolation2d="nearest",
        metadata={KEY: {**metadata, "role": "error_map", "store": stores["error_map"]}},
        **grid_of(image),
    )
    error_map.contrast_limits_range = (0, 255)
    error_map.contrast_limits = (0, TOP * 255)
    return ResultLayers(labels=labels, error_map=error_map)


def _features(classes: Sequence[LabelInfo]) -> dict[str, list[Any]]:
    """Names that napari shows for the label under the cursor."""
    return {
        "index": [0, *(item.value for item in classes)],
        "name": ["background", *(item.name for item in classes)],
    }
