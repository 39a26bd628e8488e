"""The viewer pointed at an edge, with its outline drawn."""

from napari.components import ViewerModel
from napari.layers import Labels

from e2miseg_core.boxes import Box
from e2miseg_core.project import Edge
from e2miseg_napari.aim import aim_at, is_at
from e2miseg_napari.edge_outline import (
    EdgeOutline,
    attach_outline,
    detach_outline,
    world_bounds,
)

__all__ = ["EdgeView"]


class EdgeView:
    """Shows edges in a viewer.

    Parameters
    ----------
    viewer : ViewerModel
        That is pointed at them.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._outline: EdgeOutline = attach_outline(viewer)

    def open(self) -> None:
        """Get the outline again after `close`."""
        self._outline = attach_outline(self._viewer)

    def close(self) -> None:
        """Take the outline away."""
        detach_outline(self._viewer)

    def show(self, layer: Labels, edge: Edge) -> None:
        """Go to an edge of a layer."""
        aim_at(self._viewer, layer, edge.box, edge.centre)
        self.enclose(layer, edge.box)

    def stay(self, layer: Labels, edge: Edge) -> None:
        """Stay at an edge when the plane changes, which shows the whole volume."""
        if is_at(self._viewer, layer, edge.box):
            aim_at(self._viewer, layer, edge.box, edge.centre)

    def enclose(self, layer: Labels, box: Box) -> None:
        """Draw the outline around a box."""
        self._outline.enclose(world_bounds(layer, box))

    def hide(self) -> None:
        """Draw no outline."""
        self._outline.visible = False
