"""Small widgets of the panels: headings, colour swatches, legends, messages."""

from html import escape

from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QStyle,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.problems import Problem
from e2miseg_napari.result_layers import HIDDEN_BELOW, TOP, error_colormap

__all__ = [
    "ClassLegend",
    "ErrorLegend",
    "MessageLine",
    "TextLine",
    "classes_as_html",
    "collapsible",
    "heading",
]

_SWATCH = 12  # pixels


def heading(text: str) -> QLabel:
    """Heading of a section."""
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


class TextLine(QLabel):
    """Text that wraps, can be copied, and is as high as it needs to be.

    A scroll area asks a wrapping label for its height before it has a width, and gets
    the height of a narrow one; so the height is set when the width is known.
    """

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # A long path without blanks must not widen the dock.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def setText(self, text: str) -> None:  # noqa: N802
        """Show another text (Qt's name)."""
        super().setText(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Adapt the height (Qt's name)."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setMinimumHeight(0)  # else the height asked for is at least the last one
        height = self.heightForWidth(self.width())
        if height > 0 and height != self.minimumHeight():
            self.setFixedHeight(height)


def collapsible(title: str) -> QCollapsible:
    """Part that is closed at first."""
    part = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
    part.setDuration(0)
    layout = part.layout()
    if layout is not None:
        layout.setContentsMargins(0, 0, 0, 0)
    return part


def classes_as_html(labels: tuple[LabelInfo, ...]) -> str:
    """Return the classes of a model as coloured squares with names."""
    return " &nbsp; ".join(
        f'<span style="color:{escape(label.color)}">■</span>&nbsp;'
        + escape(label.name).replace(" ", "&nbsp;")
        for label in labels
    )


class _Swatch(QWidget):
    """A square of one colour."""

    def __init__(self, color: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._color = QColor(color)
        self.setFixedSize(_SWATCH, _SWATCH)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Fill (Qt's name)."""
        with QPainter(self) as painter:
            painter.fillRect(self.rect(), self._color)


class ClassLegend(QWidget):
    """One row a class: colour, name, volume."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)

    def show_classes(self, rows: list[tuple[LabelInfo, str]]) -> None:
        """Show classes with their volumes in words."""
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        for row, (label, volume) in enumerate(rows):
            name = QLabel(label.name)
            name.setToolTip(f"label value {label.value}")
            self._grid.addWidget(_Swatch(label.color), row, 0)
            self._grid.addWidget(name, row, 1)
            self._grid.addWidget(QLabel(volume), row, 2, Qt.AlignmentFlag.AlignRight)


class _Gradient(QWidget):
    """The error map's colours over grey, from nothing to `TOP`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedHeight(_SWATCH)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Wide enough to be read (Qt's name)."""
        return QSize(160, _SWATCH)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Fill (Qt's name)."""
        with QPainter(self) as painter:
            area = QRectF(self.rect())
            painter.fillRect(area, QColor(96, 96, 96))  # as if over an image
            colormap = error_colormap()
            gradient = QLinearGradient(area.topLeft(), area.topRight())
            stops = zip(colormap.controls, colormap.colors, strict=True)
            for at, (red, green, blue, alpha) in stops:
                color = QColor.fromRgbF(
                    float(red), float(green), float(blue), float(alpha)
                )
                # Two colours at one place: Qt keeps one, so the step is a thin ramp.
                shift = 1e-3 if at and alpha else 0.0
                gradient.setColorAt(min(1.0, float(at) + shift), color)
            painter.fillRect(area, gradient)


class ErrorLegend(QWidget):
    """What the colours of the error map mean."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(QLabel("Chance that this voxel is wrong"))
        column.addWidget(_Gradient())
        ends = QHBoxLayout()
        ends.addWidget(QLabel("0 %"))
        ends.addStretch(1)
        ends.addWidget(QLabel(f"{TOP:.0%} and more".replace("%", " %")))
        column.addLayout(ends)
        below = f"{HIDDEN_BELOW:.0%}".replace("%", " %")
        self.setToolTip(
            f"The model's own estimate; below {below} nothing is drawn. "
            "Move the cursor over the layer to read it (255 is 100 %)."
        )


class MessageLine(QWidget):
    """One line for the user, with an icon for trouble and details for a bug."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        self._icon = QLabel()
        self._icon.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.text = TextLine()
        row.addWidget(self._icon)
        row.addWidget(self.text, 1)
        column.addLayout(row)
        self.details = collapsible("Details")
        self._traceback = QPlainTextEdit()
        self._traceback.setReadOnly(True)
        self._traceback.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._traceback.setMinimumHeight(160)
        self.details.addWidget(self._traceback)
        column.addWidget(self.details)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self.setVisible(False)

    def clear_line(self, line: str) -> None:
        """Show nothing, if it is this line that is shown."""
        if self.text.text() == line:
            self.clear()

    def show_notice(self, line: str) -> None:
        """Show a line that is no error; an empty one clears."""
        self.text.setText(line)
        self._icon.setVisible(False)
        self.details.setVisible(False)
        self.setVisible(bool(line))

    def show_problem(self, problem: Problem) -> None:
        """Show an error."""
        self.text.setText(problem.line)
        style, icon = self.style(), QStyle.StandardPixmap.SP_MessageBoxWarning
        if style is not None:
            self._icon.setPixmap(style.standardIcon(icon).pixmap(16, 16))
        self._icon.setVisible(True)
        self._traceback.setPlainText(problem.details)
        self.details.setVisible(bool(problem.details))
        self.details.collapse(animate=False)
        self.setVisible(True)
