"""A list of what a file or folder holds, for the user to choose from."""

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core.errors import Choice
from e2miseg_napari.modal import run_dialog

__all__ = ["ChoiceDialog", "ask_choices"]

_COLUMNS = ("Number", "What", "Size (Z, Y, X)")
_SIZE = (620, 360)  # pixels


class ChoiceDialog(QDialog):
    """Several images, of which one or more can be opened.

    Parameters
    ----------
    name : str
        Of the file or folder.
    choices : sequence of Choice
        What there is; the first is chosen.
    parent : QWidget, optional
    """

    def __init__(
        self, name: str, choices: Sequence[Choice], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._choices = tuple(choices)
        self.setWindowTitle(f"Choose from {name}")
        self.table = _table(self._choices)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open
            | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.table.itemSelectionChanged.connect(self._on_selection)
        self.table.itemDoubleClicked.connect(self.accept)
        question = QLabel(
            f"{name} holds {len(self._choices)} images. Which are to be opened? "
            "Several: with Ctrl or Shift."
        )
        question.setWordWrap(True)
        column = QVBoxLayout(self)
        column.addWidget(question)
        column.addWidget(self.table, 1)
        column.addWidget(self.buttons)
        self.resize(*_SIZE)
        self.table.selectRow(0)
        self.table.setFocus()

    @property
    def chosen(self) -> list[Choice]:
        """The choices that are marked, in the order of the list."""
        model = self.table.selectionModel()
        rows = [] if model is None else [index.row() for index in model.selectedRows()]
        return [self._choices[row] for row in sorted(rows)]

    def _on_selection(self) -> None:
        button = self.buttons.button(QDialogButtonBox.StandardButton.Open)
        if button is not None:
            button.setEnabled(bool(self.chosen))


def ask_choices(name: str, choices: Sequence[Choice], parent: QWidget) -> list[Choice]:
    """Choices that the user opens; none if they think better of it."""
    dialog = run_dialog(lambda: ChoiceDialog(name, choices, parent), parent)
    return [] if dialog is None else dialog.chosen


def _table(choices: Sequence[Choice]) -> QTableWidget:
    table = QTableWidget(len(choices), len(_COLUMNS))
    table.setHorizontalHeaderLabels(_COLUMNS)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setShowGrid(False)
    table.setAccessibleName("Images to choose from")
    rows = table.verticalHeader()
    if rows is not None:
        rows.hide()
    for row, choice in enumerate(choices):
        for column, text in enumerate((choice.part, choice.title, choice.detail)):
            item = QTableWidgetItem(text)
            item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            item.setToolTip(text)
            table.setItem(row, column, item)
    header = table.horizontalHeader()
    if header is not None:
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
    return table
