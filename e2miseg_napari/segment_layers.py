"""How an existing segmentation looks: the names and colours that its file gives."""

from typing import Any

from napari.utils.colormaps import DirectLabelColormap, label_colormap

from e2miseg_core.volume import Segments

__all__ = ["segment_options"]

_N_COLORS = 49  # napari's own number of colours that repeat


def segment_options(segments: Segments) -> dict[str, Any]:
    """Options of a labels layer: names for the label under the cursor, colours.

    Parameters
    ----------
    segments : Segments
        Labels without a colour of theirs get the one that napari would give them.
    """
    options: dict[str, Any] = {}
    if segments.names:
        values = sorted(value for value in segments.names if value != 0)
        options["features"] = {
            "index": [0, *values],
            "name": ["background", *(segments.names[value] for value in values)],
        }
    if segments.colors:
        usual = label_colormap(_N_COLORS)
        values = sorted({*segments.names, *segments.colors} - {0})
        colors: dict[int | None, Any] = {None: "white", 0: "transparent"}
        for value in values:
            rgb = segments.colors.get(value)
            colors[value] = (
                usual.map(value)
                if rgb is None
                else (rgb[0] / 255, rgb[1] / 255, rgb[2] / 255, 1.0)
            )
        options["colormap"] = DirectLabelColormap(color_dict=colors)
    return options
