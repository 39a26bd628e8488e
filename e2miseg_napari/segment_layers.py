"""How an existing segmentation looks: the names and colours that its file gives."""

from typing import Any

from napari.utils.colormaps import DirectLabelColormap, label_colormap

from e2miseg_core.volume import Segments

__all__ = ["segment_options"]

_N_COLORS = 49  # napari's own number of colours that repeat


def segment_options(segments: Segments, shift: int = 0) -> dict[str, Any]:
    """Options of a labels layer: names for the label under the cursor, colours.

    Parameters
    ----------
    segments : Segments
        Labels without a colour of theirs get the one that napari would give them.
    shift : int
        Added to a label before napari's colour is chosen: segments that overlap lie in
        layers of their own, all with the label 1, and are to be told apart.
    """
    options: dict[str, Any] = {}
    if segments.names:
        values = sorted(value for value in segments.names if value != 0)
        options["features"] = {
            "index": [0, *values],
            "name": ["background", *(segments.names[value] for value in values)],
        }
    if segments.colors or shift:
        usual = label_colormap(_N_COLORS)
        values = sorted({*segments.names, *segments.colors} - {0})
        colors: dict[int | None, Any] = {None: "white", 0: "transparent"}
        for value in values:
            rgb = segments.colors.get(value)
            colors[value] = (
                usual.map(value + shift)
                if rgb is None
                else (rgb[0] / 255, rgb[1] / 255, rgb[2] / 255, 1.0)
            )
        options["colormap"] = DirectLabelColormap(color_dict=colors)
    return options
