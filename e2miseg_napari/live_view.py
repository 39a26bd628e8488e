"""Shows finished blocks of a running prediction, as often as is good for the viewer."""

import time

import zarr
from qtpy.QtCore import QObject, QTimer

from e2miseg_napari.preview import Preview
from e2miseg_napari.project_session import ProjectSession
from e2miseg_napari.protocol import Box

__all__ = ["LiveView"]

_INTERVAL_MS = 300


class LiveView(QObject):
    """Lets the layers of the case follow the stores that its first prediction fills.

    Parameters
    ----------
    session : ProjectSession
        Shows the case.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    def __init__(self, session: ProjectSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._preview: Preview | None = None
        self._boxes: list[Box] = []
        self._timer = QTimer(self)
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.timeout.connect(self._redraw)

    def begin(self, labels: str, error_map: str) -> None:
        """Follow the stores of a prediction, by their paths."""
        preview = Preview(
            zarr.open_array(labels, path="0", mode="r"),
            zarr.open_array(error_map, path="0", mode="r"),
        )
        if self._session.show_preview(preview):
            self._preview = preview
            self._boxes.clear()
            self._timer.start()

    def add(self, box: Box) -> None:
        """Take note of voxels that are final."""
        if self._preview is not None:
            self._preview.add(box)
            self._boxes.append(box)

    def drop(self) -> None:
        """Show the case's own data: they hold the prediction now, or it failed."""
        self._timer.stop()
        self._boxes.clear()
        if self._preview is not None:
            self._preview = None
            self._session.show_preview(None)

    def _redraw(self) -> None:
        boxes, self._boxes = self._boxes, []
        if not boxes:
            return
        begun = time.perf_counter()
        self._session.follow(boxes)
        # Wide planes take longer to read: they may have a tenth of the viewer's time.
        spent_ms = 1000 * (time.perf_counter() - begun)
        self._timer.setInterval(max(_INTERVAL_MS, round(10 * spent_ms)))
