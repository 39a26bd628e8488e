"""Outline of the edge under review: a box in three dimensions, drawn over the layers.

It is an overlay of the scene and no layer: it cannot be selected, it stands in no
list, the mouse does not meet it, and a change costs a few dozen vertices. napari makes
the visual of an overlay by a table of its own, so this module is bound to its version.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from napari._vispy.overlays.base import VispySceneOverlay
from napari._vispy.utils.visual import overlay_to_visual
from napari.components import ViewerModel
from napari.components.overlays import SceneOverlay
from napari.layers import Layer
from napari.layers.base._base_constants import Blending
from napari.utils.events import disconnect_events
from numpy.typing import NDArray
from vispy.scene.visuals import Compound, Line, Mesh

from e2miseg_core.boxes import Box

__all__ = ["EdgeOutline", "attach_outline", "detach_outline", "world_bounds"]

Point = tuple[float, float, float]

_NAME = "e2miseg_edge"
# From the box outwards, in pixels: white between black is seen on dark and on bright.
_RINGS = (0.0, 1.0, 3.0, 4.0)
_BLACK, _WHITE = (0.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0, 1.0)
_RING_COLORS = (_BLACK, _WHITE, _BLACK)
_CAGE_LINES = ((_BLACK, 4), (_WHITE, 2))


class EdgeOutline(SceneOverlay):
    """Model of the outline: two corners in world coordinates, along Z, Y, X."""

    start: Point = (0.0, 0.0, 0.0)
    stop: Point = (0.0, 0.0, 0.0)
    blending: Blending = Blending.TRANSLUCENT_NO_DEPTH

    def enclose(self, bounds: tuple[Point, Point]) -> None:
        """Move to another box and show it."""
        self.start, self.stop = bounds
        self.visible = True


def world_bounds(layer: Layer, box: Box) -> tuple[Point, Point]:
    """Corners of a box of voxels of a layer: outer faces, in world coordinates."""
    corners = [layer.data_to_world(corner) for corner in product(*_faces(box))]
    lowest, highest = np.min(corners, axis=0)[-3:], np.max(corners, axis=0)[-3:]
    return _point(lowest), _point(highest)


def attach_outline(viewer: ViewerModel) -> EdgeOutline:
    """Give a viewer its outline, hidden at first; each viewer has one."""
    overlays = viewer.scene.overlays
    if _NAME not in overlays:
        overlays[_NAME] = EdgeOutline()
    outline: EdgeOutline = overlays[_NAME]
    return outline


def detach_outline(viewer: ViewerModel) -> None:
    """Take the outline out of a viewer."""
    viewer.scene.overlays.pop(_NAME, None)


class _OutlineNode(Compound):
    """A frame for slices, twelve lines for the view in three dimensions."""

    def __init__(self) -> None:
        self._frame = Mesh()
        self._cages = (Line(antialias=True), Line(antialias=True))
        super().__init__([self._frame, *self._cages])
        self.hide()

    def hide(self) -> None:
        """Draw nothing."""
        self._show(frame=False, cage=False)

    def frame(
        self, start: NDArray[np.float64], stop: NDArray[np.float64], pixel: float
    ) -> None:
        """Draw a rectangle around (y, x) bounds; `pixel` is its size in the world."""
        rings = [_rectangle(start - gap * pixel, stop + gap * pixel) for gap in _RINGS]
        faces, colors = [], []
        for ring, color in enumerate(_RING_COLORS):
            for corner in range(4):
                inner, outer = 4 * ring, 4 * (ring + 1)
                after = (corner + 1) % 4
                faces += [
                    (inner + corner, inner + after, outer + corner),
                    (inner + after, outer + after, outer + corner),
                ]
                colors += [color, color]
        self._frame.set_data(
            vertices=np.concatenate(rings),
            faces=np.array(faces),
            face_colors=np.array(colors),
        )
        self._show(frame=True, cage=False)

    def cage(self, start: NDArray[np.float64], stop: NDArray[np.float64]) -> None:
        """Draw the edges of a box of (z, y, x) bounds."""
        corners = np.array(list(product(*zip(start, stop, strict=True))))
        pairs = [
            (a, b)
            for a, b in product(range(8), repeat=2)
            if a < b and (a ^ b).bit_count() == 1
        ]
        for cage, (color, width) in zip(self._cages, _CAGE_LINES, strict=True):
            cage.set_data(
                pos=corners[:, ::-1], connect=np.array(pairs), color=color, width=width
            )
        self._show(frame=False, cage=True)

    def _show(self, *, frame: bool, cage: bool) -> None:
        self._frame.visible = frame
        for one in self._cages:
            one.visible = cage


class VispyEdgeOutline(VispySceneOverlay):
    """Draws an `EdgeOutline` where the plane on show meets its box."""

    overlay: EdgeOutline
    node: _OutlineNode

    def __init__(self, **options: Any) -> None:
        super().__init__(node=_OutlineNode(), **options)
        overlay, viewer = self.overlay.events, self.viewer
        for event in (overlay.start, overlay.stop):
            event.connect(self._draw)
        dims = viewer.dims.events
        for event in (dims.point, dims.order, dims.ndisplay, dims.ndim):
            event.connect(self._draw)
        viewer.scene.camera.events.zoom.connect(self._draw)
        self.reset()
        self._draw()

    def close(self) -> None:
        """Listen no more (napari's name)."""
        disconnect_events(self.viewer.dims.events, self)
        disconnect_events(self.viewer.scene.camera.events, self)
        self.overlay.events.start.disconnect(self._draw)
        self.overlay.events.stop.disconnect(self._draw)
        super().close()

    def _draw(self) -> None:
        dims = self.viewer.dims
        first = dims.ndim - 3  # axes before it are channels or time
        start, stop = np.array(self.overlay.start), np.array(self.overlay.stop)
        shown = [axis - first for axis in dims.displayed]
        hidden = [axis for axis in range(3) if axis not in shown]
        at = np.array(dims.point)[first:] if first >= 0 else np.full(3, np.nan)
        meets = all(start[axis] <= at[axis] < stop[axis] for axis in hidden)
        if min(shown) < 0 or not meets:
            self.node.hide()
        elif len(shown) == 3:
            self.node.cage(start[shown], stop[shown])
        else:
            pixel = 1 / self.viewer.scene.camera.zoom
            self.node.frame(start[shown], stop[shown], pixel)


overlay_to_visual[EdgeOutline] = VispyEdgeOutline


def _faces(box: Box) -> list[tuple[float, float]]:
    """Outer faces of the voxels; napari's voxel 3 reaches from 2.5 to 3.5."""
    return [(lo - 0.5, hi - 0.5) for lo, hi in box]


def _rectangle(
    start: NDArray[np.float64], stop: NDArray[np.float64]
) -> NDArray[np.float64]:
    (top, left), (bottom, right) = start, stop
    return np.array(
        [(left, top, 0), (right, top, 0), (right, bottom, 0), (left, bottom, 0)]
    )


def _point(values: Sequence[float]) -> Point:
    z, y, x = map(float, values)
    return z, y, x
