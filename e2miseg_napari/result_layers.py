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
    "label_colors",
    "label_features",
    "make_error_layer",
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
    labels = zarr.open_array(stores["labels"], path="0", mode="r+")
    error_map = zarr.open_array(stores["error_map"], path="0", mode="r")
    own = {**metadata, "role": "labels", "store": stores["labels"]}
    return ResultLayers(
        labels=Labels(
            labels,
            name=f"labels: {metadata['title']}",
            colormap=label_colors(classes),
            features=label_features(classes),
            opacity=0.5,
            metadata={KEY: own},
            **grid_of(image),
        ),
        error_map=make_error_layer(
            image, error_map, {**metadata, "store": stores["error_map"]}
        ),
    )


def make_error_layer(image: Image, array: Any, metadata: Mapping[str, Any]) -> Image:
    """Layer over an error map, exactly above the image.

    Parameters
    ----------
    image : Image
        Layer that the prediction is about.
    array : zarr.Array
        The store's finest level.
    metadata : mapping
        As for `make_result_layers`, with the path of the "store".
    """
    layer = Image(
        array,
        name=f"error map: {metadata['title']}",
        metadata={KEY: {**metadata, "role": "error_map"}},
        colormap=error_colormap(),
        contrast_limits=(0, 255),  # the range; without it napari would read the data
        blending="translucent",
        interpolation2d="nearest",
        **grid_of(image),
    )
    layer.contrast_limits = (0, TOP * 255)
    return layer


def label_colors(classes: Sequence[LabelInfo]) -> DirectLabelColormap:
    """Colours of the class table; a label that it does not list is white."""
    colors: dict[int | None, Any] = {None: _UNKNOWN_LABEL, 0: "transparent"}
    colors |= {item.value: item.color for item in classes}
    return DirectLabelColormap(color_dict=colors)


def label_features(classes: Sequence[LabelInfo]) -> dict[str, list[Any]]:
    """Names that napari shows for the label under the cursor."""
    return {
        "index": [0, *(item.value for item in classes)],
        "name": ["background", *(item.name for item in classes)],
    }
