"""The uncertain edges as a table: rank, verdict, classes, wrong voxels, gain."""

from collections.abc import Sequence

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QHeaderView, QTableWidgetItem, QVBoxLayout, QWidget

from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.panels.quiet_table import QuietTable
from e2miseg_napari.panels.review_icons import swatches, verdict_icon
from e2miseg_napari.review_queue import Entry
from e2miseg_napari.review_wording import (
    VERDICT_NAMES,
    count_in_words,
    figures_in_words,
    foreground_in_words,
    gain_in_words,
    place_in_words,
)

__all__ = ["EdgeTable"]

_TITLES = ("", "#", "Classes", "Wrong", "Dice ▾")  # short: names need the room
_TIPS = (
    "What you decided",
    "Rank: where a correction gains most comes first",
    "What is labelled there",
    "How many voxels are expected to be wrong there",
    "Expected gain in mean Dice from correcting it; the list is sorted by it",
)
_VERDICT, _RANK, _CLASSES = range(3)
_FEWEST_ROWS = 4
_SWATCHES = 3  # at most
_ICON_WIDTH = 40  # pixels, room for them
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class EdgeTable(QWidget):
    """Rows of edges, worst first; a click or Enter chooses one."""

    chosen = Signal(int)  # number of an edge

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entries: Sequence[Entry] = ()
        self._classes: tuple[LabelInfo, ...] = ()
        self._room = 1  # for so many squares of colour
        self._marks: list[QTableWidgetItem] = []
        self.table = QuietTable(_TITLES)
        self.table.setAccessibleName("Uncertain edges")
        self.table.setMinimumHeight(self.table.height_of(_FEWEST_ROWS))
        header = self.table.horizontalHeader()
        self.table.setIconSize(QSize(_ICON_WIDTH, 16))
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_CLASSES, QHeaderView.ResizeMode.Stretch)
        for place, (title, tip) in enumerate(zip(_TITLES, _TIPS, strict=True)):
            item = QTableWidgetItem(title)
            item.setToolTip(tip)
            item.setTextAlignment(_LEFT if place == _CLASSES else _RIGHT)
            self.table.setHorizontalHeaderItem(place, item)
        self.table.cellClicked.connect(self._on_chosen)
        self.table.cellActivated.connect(self._on_chosen)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)

    def show_edges(
        self,
        entries: Sequence[Entry],
        current: Entry | None,
        classes: tuple[LabelInfo, ...],
    ) -> None:
        """Show edges with their verdicts, and mark the current one."""
        old = [one.edge for one in self._entries]
        same = old == [one.edge for one in entries] and self._classes == classes
        self._entries, self._classes = entries, classes
        if not same:
            self._fill()
        for item, one in zip(self._marks, entries, strict=True):
            _show_verdict(item, one)
        numbers = [one.edge.number for one in entries]
        row = numbers.index(current.edge.number) if current is not None else -1
        self.table.show_current(row)

    def _fill(self) -> None:
        self.table.setRowCount(len(self._entries))
        self._marks = [QTableWidgetItem() for _ in self._entries]
        most = max((len(one.edge.classes) for one in self._entries), default=1)
        self._room = min(max(most, 1), _SWATCHES)
        names = {0: "background"} | {item.value: item.name for item in self._classes}
        for row, (mark, one) in enumerate(zip(self._marks, self._entries, strict=True)):
            edge = one.edge
            self.table.setItem(row, _VERDICT, mark)
            texts = (
                str(edge.number),
                foreground_in_words(edge, names),
                count_in_words(edge.expected_wrong),
                gain_in_words(edge.gain),
            )
            tip = f"{place_in_words(edge, names)} {figures_in_words(edge)}".strip()
            for column, text in enumerate(texts, start=_RANK):
                item = QTableWidgetItem(text)
                item.setToolTip(tip)
                if column == _CLASSES:
                    item.setIcon(self._swatches(one))
                else:
                    item.setTextAlignment(_RIGHT)
                self.table.setItem(row, column, item)

    def _swatches(self, one: Entry) -> QIcon:
        colors = {item.value: item.color for item in self._classes}
        values = sorted(one.edge.classes, key=lambda value: (value == 0, value))
        return swatches(
            [colors.get(value, "") for value in values[:_SWATCHES]], room=self._room
        )

    def _on_chosen(self, row: int, _column: int) -> None:
        self.chosen.emit(self._entries[row].edge.number)


def _show_verdict(item: QTableWidgetItem, one: Entry) -> None:
    item.setIcon(QIcon() if one.verdict is None else verdict_icon(one.verdict))
    item.setToolTip("" if one.verdict is None else VERDICT_NAMES[one.verdict])
