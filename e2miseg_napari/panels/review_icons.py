"""Small drawn signs: verdicts, and the colours of the classes that meet."""

from collections.abc import Callable, Sequence

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF

from e2miseg_core.project import Verdict

__all__ = ["swatches", "verdict_icon"]

_SIZE = 16  # pixels
_DENSITY = 2  # pixels drawn for one of a common screen
_GREEN, _GREY, _WHITE = QColor("#3fa34d"), QColor("#8a8f98"), QColor("white")
_TICK = QPolygonF([QPointF(4.6, 8.4), QPointF(7.0, 10.8), QPointF(11.4, 5.6)])


def verdict_icon(verdict: Verdict) -> QIcon:
    """Filled tick: corrected; outlined tick: fine as it is; dash: skipped."""
    return _icon(_SIZE, _VERDICTS[verdict])


def swatches(colors: Sequence[str], *, room: int = 1) -> QIcon:
    """Draw squares side by side; an empty colour is the background's, a frame.

    Parameters
    ----------
    colors : sequence of str
        As in a model's card.
    room : int
        For so many squares, so that the texts beside several icons stand in line.
    """
    side, gap = 10, 3

    def draw(painter: QPainter) -> None:
        for index, color in enumerate(colors):
            area = QRectF(index * (side + gap) + 0.5, 3.5, side - 1, side - 1)
            painter.setPen(QPen(QColor(color) if color else _GREY, 1))
            painter.setBrush(QColor(color) if color else Qt.BrushStyle.NoBrush)
            painter.drawRect(area)

    return _icon(room * (side + gap), draw)


def _icon(width: int, draw: Callable[[QPainter], None]) -> QIcon:
    pixmap = QPixmap(width * _DENSITY, _SIZE * _DENSITY)
    pixmap.setDevicePixelRatio(_DENSITY)
    pixmap.fill(Qt.GlobalColor.transparent)
    with QPainter(pixmap) as painter:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        draw(painter)
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # else Qt would tint it
    return icon


def _pen(color: QColor) -> QPen:
    pen = QPen(color, 1.8)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    return pen


def _corrected(painter: QPainter) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(_GREEN)
    painter.drawEllipse(QRectF(1, 1, 14, 14))
    painter.setPen(_pen(_WHITE))
    painter.drawPolyline(_TICK)


def _fine(painter: QPainter) -> None:
    painter.setPen(_pen(_GREEN))
    painter.drawEllipse(QRectF(2, 2, 12, 12))
    painter.drawPolyline(_TICK)


def _skipped(painter: QPainter) -> None:
    painter.setPen(_pen(_GREY))
    painter.drawEllipse(QRectF(2, 2, 12, 12))
    painter.drawLine(QPointF(5.5, 8), QPointF(10.5, 8))


_VERDICTS: dict[Verdict, Callable[[QPainter], None]] = {
    "corrected": _corrected,
    "fine": _fine,
    "skipped": _skipped,
}
