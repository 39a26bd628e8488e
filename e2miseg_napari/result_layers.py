"""How labels and maps look: colours, names, and the layers of the maps."""

from collections.abc import Mapping, Sequence
from typing import Any

from napari.layers import Image
from napari.utils.colormaps import Colormap, DirectLabelColormap

from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.convert import KEY, grid_of

__all__ = [
    "HIDDEN_BELOW",
    "TOP",
    "error_colormap",
    "label_colors",
    "label_features",
    "make_edge_layer",
    "make_error_layer",
]

HIDDEN_BELOW = 0.05  # chance of error that is not worth a look
TOP = 0.6  # chance of error with the strongest colour
_UNKNOWN_LABEL = "white"  # a label that the model's card does not list
# Pink to magenta: models colour their classes orange, yellow and red, never so.
_STOPS = ((1.0, 0.6, 1.0, 0.35), (1.0, 0.0, 0.8, 0.9))
_HIDDEN = (0.0, 0.0, 0.0, 0.0)


def error_colormap() -> Colormap:
    """Nothing below `HIDDEN_BELOW`, then from pink to magenta at `TOP`."""
    edge = HIDDEN_BELOW / TOP
    return Colormap(
        [_HIDDEN, _HIDDEN, *_STOPS],
        controls=[0.0, edge, edge, 1.0],
        name="chance of error",
    )


def make_error_layer(image: Image, array: Any, metadata: Mapping[str, Any]) -> Image:
    """Layer over an error map, exactly above the image.

    Parameters
    ----------
    image : Image
        Layer that the prediction is about.
    array : RemainingErrors or zarr.Array, shape (Z, Y, X)
        Handed over as it is: dask would go on showing what a chunk held when it was
        first read.
    metadata : mapping
        Kept with the layer under this plugin's key; its name ends with its "title".
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


def make_edge_layer(image: Image, array: Any, metadata: Mapping[str, Any]) -> Image:
    """Layer over an edge probability, exactly above the image, hidden at first.

    Cyan light is added to what lies below, so that image and labels stay to be seen;
    models colour their classes otherwise.

    Parameters
    ----------
    image, array, metadata
        As for `make_error_layer`.
    """
    return Image(
        array,
        name=f"edge probability: {metadata['title']}",
        metadata={KEY: {**metadata, "role": "edge_map"}},
        colormap="cyan",
        contrast_limits=(0, 255),  # the range; without it napari would read the data
        blending="additive",
        interpolation2d="nearest",
        visible=False,  # the error map is what is looked at first
        **grid_of(image),
    )


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
