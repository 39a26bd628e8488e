"""Shows finished blocks of a running prediction, as often as is good for the viewer."""

import time
from collections.abc import Sequence

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QObject, QTimer

from e2miseg_napari.protocol import Box

__all__ = ["LiveView", "meets_view"]

_INTERVAL_MS = 300
_MOST_VOXELS_3D = 1 << 24  # in 3D napari loads the whole layer for each refresh


class LiveView(QObject):
    """Collects finished boxes and redraws layers that show one of them.

    Parameters
    ----------
    viewer : ViewerModel
        Whose position counts.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers: tuple[Layer, ...] = ()
        self._boxes: list[Box] = []
        self._timer = QTimer(self)
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.timeout.connect(self._redraw)

    def follow(self, layers: Sequence[Layer]) -> None:
        """Start with the layers of a new prediction."""
        self._layers = tuple(layers)
        self._boxes.clear()
        self._timer.start()

    def add(self, box: Box) -> None:
        """Take note of a finished box."""
        self._boxes.append(box)

    def stop(self) -> None:
        """Stop; what has been collected is dropped."""
        self._timer.stop()
        self._layers = ()
        self._boxes.clear()

    def _redraw(self) -> None:
        boxes, self._boxes = self._boxes, []
        begun = time.perf_counter()
        for layer in self._layers:
            if layer.visible and any(
                meets_view(layer, box, self._viewer) for box in boxes
            ):
                layer.refresh(extent=False, thumbnail=False, highlight=False)
        # Wide planes take longer to read: they may have a tenth of the viewer's time.
        spent_ms = 1000 * (time.perf_counter() - begun)
        self._timer.setInterval(max(_INTERVAL_MS, round(10 * spent_ms)))


def meets_view(layer: Layer, box: Box, viewer: ViewerModel) -> bool:
    """Whether the slice that a viewer shows of a layer cuts a box of its voxels."""
    dims = viewer.dims
    if dims.ndisplay == 3:
        return int(layer.data.size) <= _MOST_VOXELS_3D
    position = layer.world_to_data(dims.point)
    offset = dims.ndim - layer.ndim
    for axis, (start, stop) in enumerate(box):
        if axis + offset in dims.displayed:
            continue
        if not start <= round(float(position[axis])) < stop:
            return False
    return True
