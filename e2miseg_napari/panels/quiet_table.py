"""A table of rows that leaves the keys to the viewer."""

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QFrame, QTableWidget, QWidget

__all__ = ["QuietTable"]

# Up, down, Enter and the like are a table's; letters and signs are the viewer's.
_OWN = {
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
    Qt.Key.Key_Return,
    Qt.Key.Key_Enter,
}
_ROW = 22  # pixels


class QuietTable(QTableWidget):
    """Rows to choose from; a click takes no focus, typing does not search.

    Parameters
    ----------
    titles : sequence of str
        Of the columns; all empty for a table without a header.
    parent : QWidget, optional
        Owner in Qt's sense.
    """

    def __init__(self, titles: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(0, len(titles), parent)
        self.setHorizontalHeaderLabels(list(titles))
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        rows.setVisible(False)
        rows.setDefaultSectionSize(_ROW)
        columns.setVisible(any(titles))
        columns.setHighlightSections(False)
        columns.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def height_of(self, rows: int) -> int:
        """Height in pixels that shows so many rows."""
        header = self.horizontalHeader()
        above = header.sizeHint().height() if header.isVisibleTo(self) else 0
        return above + rows * _ROW + 2 * self.frameWidth()

    def show_current(self, row: int) -> None:
        """Mark a row without telling anybody; -1 marks none."""
        blocked = self.blockSignals(True)
        if row < 0:
            self.clearSelection()
            self.setCurrentCell(-1, -1)
        else:
            self.selectRow(row)
        self.blockSignals(blocked)
        if row >= 0:
            self.scrollTo(self.model().index(row, 0))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Take only the keys that move in a table (Qt's name)."""
        if event.key() in _OWN:
            super().keyPressEvent(event)
        else:
            event.ignore()
