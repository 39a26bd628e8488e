"""The classes as a table: a click takes one for painting."""

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QHeaderView, QTableWidgetItem, QVBoxLayout, QWidget

from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.panels.parts import TextLine
from e2miseg_napari.panels.quiet_table import QuietTable
from e2miseg_napari.panels.review_icons import swatches

if TYPE_CHECKING:
    from napari.layers import Labels

    from e2miseg_napari.project_session import ProjectSession

__all__ = ["ClassTable"]

_MOST_ROWS = 7  # more are scrolled to
_DRAWING = {"paint", "fill", "polygon"}  # modes in which another class goes on
_BACKGROUND = LabelInfo(value=0, name="background", color="")


class ClassTable(QWidget):
    """Shows the class that is painted with, and lets another one be chosen."""

    chosen = Signal(int)  # label value

    def __init__(
        self, session: "ProjectSession", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._layer: Labels | None = None
        self._classes: tuple[LabelInfo, ...] = ()
        self.table = QuietTable(("",))
        self.table.setAccessibleName("Class to paint with")
        self.table.horizontalHeader().setSectionResizeMode(
            QHeaderView.ResizeMode.Stretch
        )
        self.table.cellClicked.connect(self._on_chosen)
        self.table.cellActivated.connect(self._on_chosen)
        self.keys = TextLine(_keys_in_words())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)
        column.addWidget(self.keys)
        self.reload()

    def reload(self) -> None:
        """Show the classes of the open project, and follow its labels layer."""
        project, layer = self._session.project, self._session.labels_layer
        classes = () if project is None else (*project.classes, _BACKGROUND)
        if classes != self._classes:
            self._classes = classes
            self._fill()
        if layer is not self._layer:
            if self._layer is not None:
                self._layer.events.selected_label.disconnect(self._on_label)
            self._layer = layer
            if layer is not None:
                layer.events.selected_label.connect(self._on_label)
        self._on_label()

    def _fill(self) -> None:
        self.table.setRowCount(len(self._classes))
        for row, info in enumerate(self._classes):
            item = QTableWidgetItem(swatches([info.color]), info.name)
            item.setToolTip(f"Paint with {info.name}, label value {info.value}")
            self.table.setItem(row, 0, item)
        rows = min(len(self._classes), _MOST_ROWS)
        self.table.setFixedHeight(self.table.height_of(rows))

    def _on_label(self, _event: Any = None) -> None:
        values = [info.value for info in self._classes]
        label = None if self._layer is None else self._layer.selected_label
        self.table.show_current(values.index(label) if label in values else -1)

    def _on_chosen(self, row: int, _column: int) -> None:
        layer = self._layer
        if layer is None:
            return
        value = self._classes[row].value
        layer.selected_label = value
        if layer.mode not in _DRAWING:
            layer.mode = "paint"
        self.chosen.emit(value)


def _keys_in_words() -> str:
    native = QKeySequence.SequenceFormat.NativeText
    undo = QKeySequence("Ctrl+Z").toString(native)
    plane = QKeySequence("Ctrl+E").toString(native)
    return (
        "Keys: 2 paint, 1 erase, 3 polygon, 4 fill, 5 pick, 6 move, - = class, "
        f"[ ] brush size, {undo} undo, {plane} other plane, H error map."
    )
