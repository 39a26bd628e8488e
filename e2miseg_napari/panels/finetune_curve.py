"""The live curve of a fine-tuning: loss, and wrong voxels on what is held out."""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from e2miseg_napari.finetune_jobs import CurvePoint

__all__ = ["CurveWidget"]

_LOSS, _WRONG = "#6ea8dc", "#e59a3c"  # told apart also by the colour-blind
_HEIGHT = 150  # pixels
_AXIS = 36  # pixels, wide enough for four digits
_SMOOTHING = 0.85  # of the drawn loss: single batches differ a lot
_ROOM = 0.15  # of the span, so that no mark is cut


class CurveWidget(QWidget):
    """Two curves over the steps, each with its own axis in its colour.

    Parameters
    ----------
    pyqtgraph : module
        Given, since importing it takes too long for the GUI thread.
    parent : QWidget, optional
        Owner in Qt's sense.
    """

    def __init__(self, pyqtgraph: ModuleType, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._plot: Any = pyqtgraph.PlotWidget(self)
        self._item: Any = self._plot.getPlotItem()
        self._second: Any = pyqtgraph.ViewBox(enableMenu=False)
        self._item.showAxis("right")
        self._item.scene().addItem(self._second)
        self._item.getAxis("right").linkToView(self._second)
        self._second.setXLink(self._item)
        self._item.vb.sigResized.connect(self._on_resized)
        self.loss: Any = pyqtgraph.PlotDataItem(pen=pyqtgraph.mkPen(_LOSS, width=2))
        self.wrong: Any = pyqtgraph.PlotDataItem(
            pen=pyqtgraph.mkPen(_WRONG, width=2),
            symbol="o",
            symbolSize=7,
            symbolPen=None,
            symbolBrush=_WRONG,
        )
        dashes = pyqtgraph.mkPen(_WRONG, width=1, style=Qt.PenStyle.DashLine)
        self.before: Any = pyqtgraph.InfiniteLine(angle=0, pen=dashes)
        self._item.addItem(self.loss)
        self.tested: Any = pyqtgraph.PlotDataItem(
            pen=None, symbol="d", symbolSize=12, symbolPen=None, symbolBrush=_WRONG
        )
        for item in (self.before, self.wrong, self.tested):
            self._second.addItem(item)
        self._look_only()
        self._lay_out()
        self._take_colors()

    def _look_only(self) -> None:
        """The wheel scrolls the panel, and there is nothing to set."""
        self._plot.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._item.hideButtons()
        self._item.setMenuEnabled(False)
        self._item.setMouseEnabled(x=False, y=False)
        self._second.setMouseEnabled(x=False, y=False)
        for side in ("left", "right"):
            self._item.getAxis(side).setWidth(_AXIS)
            self._item.getAxis(side).enableAutoSIPrefix(False)
            # A number that would be cut at an end is left out.
            self._item.getAxis(side).setStyle(hideOverlappingLabels=True)

    def _lay_out(self) -> None:
        legend = QHBoxLayout()
        for color, text in ((_LOSS, "loss"), (_WRONG, "wrong voxels, held out")):
            label = QLabel(f'<span style="color:{color}">●</span> {text}')
            legend.addWidget(label)
            if color == _LOSS:
                label.setToolTip("Running mean over the last few steps")
                legend.addStretch(1)
            else:
                label.setToolTip(
                    "On corrections that the new model does not learn. Dashed: before "
                    "the first step. ◆: the model that was tested at the end, which "
                    "may lie between the old and the trained one"
                )
        self._plot.setFixedHeight(_HEIGHT)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(legend)
        column.addWidget(self._plot)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the viewer's theme (Qt's name)."""
        super().changeEvent(event)
        if event.type() in {QEvent.Type.StyleChange, QEvent.Type.PaletteChange}:
            self._take_colors()

    def _take_colors(self) -> None:
        self.ensurePolished()
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        self._plot.setBackground(None)
        colors = {"left": _LOSS, "right": _WRONG, "bottom": ink}
        for name, color in colors.items():
            axis = self._item.getAxis(name)
            axis.setTextPen(color)
            axis.setPen(ink)

    def show_points(
        self,
        points: Sequence[CurvePoint],
        total: int = 0,
        tested: float | None = None,
    ) -> None:
        """Draw the points, on an axis that reaches to the last step of all.

        Parameters
        ----------
        points : sequence of CurvePoint
            Of the steps so far.
        total : int
            Steps that there will be, 0 while unknown.
        tested : float, optional
            Wrong voxels that the verdict rests on; once there is one.
        """
        losses = [(p.step, p.loss) for p in points if p.loss is not None]
        wrong = [(p.step, p.wrong) for p in points if p.wrong is not None]
        smooth = _smooth(losses)
        self.loss.setData(*_columns(smooth))
        self.wrong.setData(*_columns(wrong))
        before = next((value for step, value in wrong if step == 0), None)
        self.before.setVisible(before is not None)
        if before is not None:
            self.before.setValue(before)
        last = max([total, *(point.step for point in points)], default=1)
        self._item.setXRange(0, max(1, last), padding=0.03)
        low, high = _span([value for _, value in smooth])
        self._item.setYRange(low, high, padding=_ROOM)
        final = (
            []
            if tested is None or not points
            else [(max(p.step for p in points), tested)]
        )
        self.tested.setData(*_columns(final))
        _, high = _span([0.0, *(value for _, value in [*wrong, *final])])
        self._second.setYRange(0, (1 + _ROOM) * high, padding=0)

    def _on_resized(self) -> None:
        self._second.setGeometry(self._item.vb.sceneBoundingRect())
        self._second.linkedViewChanged(self._item.vb, self._second.XAxis)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value, a little apart; the loss may be below 0."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return low, max(high, low + 0.01)


def _columns(rows: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in rows], [value for _, value in rows]


def _smooth(rows: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Running mean of the loss, which weighs the first steps rightly."""
    smoothed, mean = [], 0.0
    for count, (step, value) in enumerate(rows, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        smoothed.append((step, mean / (1 - math.pow(_SMOOTHING, count))))
    return smoothed
