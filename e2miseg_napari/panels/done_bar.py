"""A bar that fills in the colour of what is done."""

from qtpy.QtCore import QRectF
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import QProgressBar, QWidget

__all__ = ["DoneBar"]

_HEIGHT = 10  # pixels
_DONE = QColor("#3fa34d")  # as the ticks of the verdicts


class DoneBar(QProgressBar):
    """Progress without words; a viewer's theme would draw a hairline of grey."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextVisible(False)
        self.setFixedHeight(_HEIGHT)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the whole and the part (Qt's name)."""
        whole = QRectF(self.rect())
        span = max(1, self.maximum() - self.minimum())
        part = QRectF(whole)
        part.setWidth(whole.width() * (self.value() - self.minimum()) / span)
        ground = self.palette().color(QPalette.ColorRole.WindowText)
        ground.setAlphaF(0.2)
        with QPainter(self) as painter:
            painter.fillRect(whole, ground)
            painter.fillRect(part, _DONE)
