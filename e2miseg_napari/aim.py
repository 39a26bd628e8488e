"""Point the viewer at a box of voxels: slice, centre and zoom, in any plane."""

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from e2miseg_core.boxes import Box
from e2miseg_napari.edge_outline import world_bounds

__all__ = ["aim_at", "is_at"]

_PART_OF_VIEW = 1 / 3  # that the box fills, along the axis where it is tightest


def aim_at(
    viewer: ViewerModel, layer: Layer, box: Box, centre: tuple[int, int, int]
) -> None:
    """Show the slice through `centre`, with the box in the middle of the view.

    Parameters
    ----------
    viewer : ViewerModel
        Keeps its plane, and its view of two or three dimensions.
    layer : Layer
        Whose voxels `box` and `centre` count, along Z, Y, X.
    """
    dims, camera = viewer.dims, viewer.scene.camera
    if dims.ndim < 3:  # no volume is there: its layer is just going
        return
    first = dims.ndim - 3  # axes before it are channels or time
    at = np.asarray(layer.data_to_world(centre))[-3:]
    dims.set_point(range(first, dims.ndim), [float(value) for value in at])
    start, stop = np.array(world_bounds(layer, box))
    shown = [axis - first for axis in dims.displayed]
    if min(shown) < 0:  # a channel axis is displayed: there is nothing to aim at
        return
    middle = ((start + stop) / 2)[shown]
    camera.center = (*(0.0,) * (3 - len(shown)), *map(float, middle))
    room = np.array(viewer.canvas.viewbox_size(viewer.layers), float)
    size = (stop - start)[shown]
    tightest = min(room / size) if len(shown) == 2 else min(room) / max(size)
    camera.zoom = float(_PART_OF_VIEW * tightest)


def is_at(viewer: ViewerModel, layer: Layer, box: Box) -> bool:
    """Tell whether the viewer's point lies in a box, along all three axes."""
    if viewer.dims.ndim < 3:
        return False
    start, stop = np.array(world_bounds(layer, box))
    point = np.array(viewer.dims.point)[-3:]
    return bool(((start <= point) & (point < stop)).all())
