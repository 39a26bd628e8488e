"""Parts of the tab "Fine-tune": what was corrected, the verdict, the versions."""

from collections.abc import Sequence
from functools import partial
from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from e2miseg_napari.corrections import NEEDED, Corrections
from e2miseg_napari.finetune_figures import FigureRow, figure_rows, way_in_words
from e2miseg_napari.panels.parts import TextLine, heading
from e2miseg_napari.protocol import FinetuneResult
from e2miseg_napari.version_list import VersionLine, with_arrows

__all__ = ["CorrectionsSection", "OutcomeCard", "VersionsSection"]

_GOOD, _BAD = "#3fae6a", "#d9902f"  # told apart on dark and on light ground
_BAR = 4  # pixels
_PADDING = 4  # pixels, of napari's labels
_COLUMNS = ("corrected", "fine", "drawn")
_TIPS = (
    "Edges that you have corrected",
    "Edges that you have found right as they are",
    "Voxels that you have drawn by hand, anywhere in the case; those of edges that "
    "were only found right are not among them",
)


def clear(layout: QGridLayout | QVBoxLayout) -> None:
    """Remove all widgets of a layout, those of its layouts as well."""
    while (item := layout.takeAt(0)) is not None:
        if (old := item.widget()) is not None:
            old.hide()
            old.deleteLater()


class _Name(QLabel):
    """A name that gives way in its middle where there is too little room."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._whole = text
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Shorten (Qt's name)."""
        super().resizeEvent(event)
        room = self.contentsRect().width() - 2 * _PADDING
        middle = Qt.TextElideMode.ElideMiddle
        self.setText(self.fontMetrics().elidedText(self._whole, middle, room))


class CorrectionsSection(QWidget):
    """What has been corrected, case by case, and what is missing."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = QWidget()
        self._grid = QGridLayout(self._table)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setHorizontalSpacing(12)
        self._grid.setColumnStretch(0, 1)
        self.summary = TextLine()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(heading("Corrections"))
        column.addWidget(self._table)
        column.addWidget(self.summary)
        self.show_corrections(None)

    def show_corrections(self, corrections: Corrections | None) -> None:
        """Show what there is; None where no project is open."""
        cases = () if corrections is None else corrections.touched
        clear(self._grid)
        self._table.setVisible(bool(cases))
        if cases:
            for place, (title, tip) in enumerate(zip(_COLUMNS, _TIPS, strict=True), 1):
                self._add(QLabel(title), 0, place, tip)
        for row, case in enumerate(cases, start=1):
            name = _Name(case.name)
            name.setToolTip(case.name + _painted(case.painted))
            self._grid.addWidget(name, row, 0)
            numbers = (case.corrected, case.fine, case.drawn)
            for place, (number, tip) in enumerate(zip(numbers, _TIPS, strict=True), 1):
                self._add(QLabel(f"{number:,}"), row, place, tip)
        self.summary.setText(_summary(corrections))

    def _add(self, label: QLabel, row: int, column: int, tip: str) -> None:
        label.setToolTip(tip)
        self._grid.addWidget(label, row, column, Qt.AlignmentFlag.AlignRight)


def _painted(places: int) -> str:
    if not places:
        return ""
    return f": {places} {_plural('place', places)} painted outside reviewed edges"


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _summary(corrections: Corrections | None) -> str:
    if corrections is None:
        return "Open a project first: predict an image in the tab Predict."
    places, missing = corrections.places, corrections.missing
    told = f"{places} {_plural('place', places)}" if places else "Nothing"
    painted = sum(case.painted for case in corrections.cases)
    where = f" ({painted} painted outside reviewed edges)" if painted else ""
    if missing:
        more = f"{missing} more" if places else f"{missing}"
        return (
            f"{told} so far{where}; fine-tuning needs {NEEDED}. Decide on {more} "
            f"uncertain {_plural('edge', missing)} in the tab Review."
        )
    held_out = max(2, round(places / 4))
    return (
        f"{told} to learn from{where}. About {held_out} of them are kept back to test "
        "the new model."
    )


class OutcomeCard(QWidget):
    """How a fine-tuning ended: kept or not, why, and what can be done now."""

    predict_again_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._color = QColor(_GOOD)
        self.title = TextLine()
        self.title.setTextFormat(Qt.TextFormat.RichText)
        self.sentence = TextLine()
        self.way = TextLine()
        self.figures = QWidget()
        self._grid = QGridLayout(self.figures)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(0, 1)
        self.button = QPushButton("Predict again")
        self.button.setToolTip(
            "Predict the case on show with this model; what you drew stays as it is"
        )
        self.button.clicked.connect(self.predict_again_asked)
        column = QVBoxLayout(self)
        column.setContentsMargins(3 * _BAR, 0, 0, 0)
        for part in (self.title, self.sentence, self.way, self.figures, self.button):
            column.addWidget(part)
        self.hide()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw a bar at the side in the verdict's colour (Qt's name)."""
        with QPainter(self) as painter:
            painter.fillRect(0, 0, _BAR, self.height(), self._color)

    def show_result(self, result: FinetuneResult) -> None:
        """Show the gate's verdict."""
        if result.kept:
            self._say(_GOOD, "✓", f"Kept: version {result.version} is in use now")
        else:
            self._say(_BAD, "✕", "Not kept: the model stays as it was")
        # The sentence begins with what the title has said already.
        _, colon, why = result.sentence.partition(": ")
        why = with_arrows(why if colon else result.sentence)
        self.sentence.setText(why[:1].upper() + why[1:])
        way = way_in_words(result.figures)
        self.way.setText(way)
        self.way.setVisible(bool(way))
        self._show_figures(figure_rows(result.figures))
        self.button.setVisible(result.kept)
        self.show()

    def _show_figures(self, rows: Sequence[FigureRow]) -> None:
        clear(self._grid)
        for number, row in enumerate(rows):
            self._grid.addWidget(TextLine(row.name), number, 0)
            value = QLabel(escape(row.value))
            if row.failed:
                value.setText(
                    f'<span style="color:{_BAD}">✕ {escape(row.value)}</span>'
                )
                value.setToolTip("Not enough to be kept")
            align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop
            self._grid.addWidget(value, number, 1, align)
        self.figures.setVisible(bool(rows))

    def show_switch(self, number: int) -> None:
        """Say that another version is in use."""
        self._say(_GOOD, "✓", f"Version {number} is in use now")
        self.sentence.setText("Labels change only when you predict again.")
        self.way.hide()
        self.figures.hide()
        self.button.show()
        self.show()

    def _say(self, color: str, sign: str, text: str) -> None:
        self._color = QColor(color)
        self.title.setText(
            f'<b><span style="color:{color}">{sign}</span> {escape(text)}</b>'
        )


class VersionsSection(QWidget):
    """The versions of the model, the newest first; one click goes back to one."""

    use_asked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[int, QPushButton] = {}
        self._list = QVBoxLayout()
        self._list.setContentsMargins(0, 0, 0, 0)
        self._list.setSpacing(12)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(heading("Model versions"))
        column.addLayout(self._list)
        self.show_versions(())

    def show_versions(self, versions: Sequence[VersionLine]) -> None:
        """Show versions; none hides the section."""
        clear(self._list)
        self.buttons = {}
        self.setVisible(bool(versions))
        for version in versions:
            self._list.addWidget(self._row(version))

    def _row(self, version: VersionLine) -> QWidget:
        row = QWidget()
        title = TextLine(_title(version))
        title.setTextFormat(Qt.TextFormat.RichText)
        head = QHBoxLayout()
        head.addWidget(title, 1)
        if version.number is not None and not version.current:
            head.addWidget(self._button(version.number))
        column = QVBoxLayout(row)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(head)
        origin = f"Trained on {version.origin}" if version.number is not None else ""
        for text in (origin if version.origin else "", version.short):
            if text:
                column.addWidget(TextLine(text))
        row.setToolTip(with_arrows(version.sentence))
        return row

    def _button(self, number: int) -> QPushButton:
        button = QPushButton("Use")
        button.setToolTip(f"Predict and fine-tune with version {number} from now on")
        button.setAccessibleName(f"Use version {number}")
        button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        button.clicked.connect(partial(self._ask, number))
        self.buttons[number] = button
        return button

    def _ask(self, number: int, _checked: bool = False) -> None:
        self.use_asked.emit(number)


def _title(version: VersionLine) -> str:
    when = f"<span>{escape(version.when)}</span>"
    if version.number is None:
        return f"{escape(version.origin).capitalize()} · {when}"
    name = f"<b>Version {version.number}</b> · {when}"
    if version.current:
        name += f' · <b><span style="color:{_GOOD}">●</span> in use</b>'
    return name
