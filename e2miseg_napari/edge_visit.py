"""The edge on show: where the viewer looks, what is painted with, and what was."""

from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.utils.events import EventEmitter
from qtpy.QtCore import QObject, Signal

from e2miseg_core.boxes import Box
from e2miseg_core.project import Edge
from e2miseg_napari.aim import aim_at, is_at
from e2miseg_napari.box_watch import BoxWatch, class_to_paint
from e2miseg_napari.edge_outline import (
    EdgeOutline,
    attach_outline,
    detach_outline,
    world_bounds,
)
from e2miseg_napari.review_drag import DragWatch

if TYPE_CHECKING:
    from e2miseg_napari.project_session import ProjectSession

__all__ = ["EdgeVisit"]


class EdgeVisit(QObject):
    """Goes to edges, stays there when the plane changes, and sees what is painted.

    It begins open.

    Parameters
    ----------
    viewer : ViewerModel
        That is pointed at them.
    session : ProjectSession
        Whose labels are painted on.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    painted_changed = Signal(bool)  # whether somebody has painted in the edge
    plane_changed = Signal()  # the edge is seen along another axis

    def __init__(
        self,
        viewer: ViewerModel,
        session: "ProjectSession",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._session = viewer, session
        self._edge: Edge | None = None
        self._watched: BoxWatch | None = None
        self._painted = False
        self._drag = DragWatch(viewer)
        self._outline: EdgeOutline
        self.open()

    @property
    def painted(self) -> bool:
        """Whether somebody has painted in the edge since it is on show."""
        return self._painted

    @property
    def hand_is_busy(self) -> bool:
        """Whether a stroke may be under way: nothing is moved under the hand."""
        return self._drag.held

    def open(self) -> None:
        """Draw the outline and follow the viewer again, after `close`."""
        self._outline = attach_outline(self._viewer)
        self._drag.open()
        for event in self._plane_events():
            event.connect(self._on_plane)

    def close(self) -> None:
        """Take the outline away, and follow no more."""
        for event in self._plane_events():
            event.disconnect(self._on_plane)
        self._drag.close()
        detach_outline(self._viewer)

    def go(self, edge: Edge) -> None:
        """Show an edge: slice, centre and zoom, with a class that fits to paint with.

        The class stays where it is one of those that meet there.
        """
        layer = self._session.labels_layer
        if layer is None:
            return
        aim_at(self._viewer, layer, edge.box, edge.centre)
        self._enclose(edge.box)
        self.take_brush()
        self.watch(edge)
        if self._watched is not None and not layer.polygon_is_begun:
            wanted = class_to_paint(
                self._watched.labels, edge.classes, layer.selected_label
            )
            if wanted != layer.selected_label:
                layer.selected_label = wanted

    def watch(self, edge: Edge) -> None:
        """Notice from now on when somebody paints in an edge."""
        store = self._session.store
        self._edge = edge
        self._watched = None if store is None else BoxWatch(store, edge.box)
        self._tell(painted=False)

    def keep(self, edge: Edge) -> None:
        """Go on with an edge that stands in another list now."""
        self._edge = edge
        self._enclose(edge.box)

    def leave(self) -> None:
        """No edge is on show any more."""
        self._edge = self._watched = None
        self._outline.visible = False
        self._tell(painted=False)

    def look(self) -> None:
        """Look whether somebody has painted there."""
        if self._watched is not None:
            self._tell(painted=self._watched.is_painted())

    def take_brush(self) -> None:
        """Make the labels the active layer, so that the tools work on them."""
        layer = self._session.labels_layer
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.selection.active = layer

    def _enclose(self, box: Box) -> None:
        layer = self._session.labels_layer
        if layer is not None:
            self._outline.enclose(world_bounds(layer, box))

    def _plane_events(self) -> tuple[EventEmitter, EventEmitter]:
        return self._viewer.dims.events.order, self._viewer.dims.events.ndisplay

    def _on_plane(self, _event: object = None) -> None:
        """Another plane shows the whole volume at first: back to the edge."""
        self.plane_changed.emit()
        edge, layer = self._edge, self._session.labels_layer
        if edge is None or layer is None:
            return
        if is_at(self._viewer, layer, edge.box):
            aim_at(self._viewer, layer, edge.box, edge.centre)

    def _tell(self, *, painted: bool) -> None:
        if painted != self._painted:
            self._painted = painted
            self.painted_changed.emit(painted)
