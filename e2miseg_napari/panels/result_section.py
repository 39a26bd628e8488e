"""Section "Result": what the colours mean, how large the classes are, saving."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from e2miseg_napari.panels.parts import ClassLegend, ErrorLegend, TextLine, heading
from e2miseg_napari.predictions import Prediction
from e2miseg_napari.saving import ERROR_MAP, LABELS

__all__ = ["ResultSection"]


class ResultSection(QWidget):
    """Legend of one prediction, and the buttons that save it."""

    save_asked = Signal(str)  # LABELS or ERROR_MAP

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = TextLine()
        self.legend = ClassLegend()
        self.error_legend = ErrorLegend()
        self.state = TextLine()
        self.save_labels = QPushButton("Save labels…")
        self.save_labels.setToolTip("Write the labels on the exact grid of their image")
        self.save_labels.clicked.connect(self._ask_labels)
        self.save_error_map = QPushButton("Save error map…")
        self.save_error_map.setToolTip(
            "Write the chance of error, 0 to 1, on the exact grid of the image"
        )
        self.save_error_map.clicked.connect(self._ask_error_map)
        buttons = QHBoxLayout()
        buttons.addWidget(self.save_labels)
        buttons.addWidget(self.save_error_map)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(heading("Result"))
        for part in (self.title, self.legend, self.error_legend, self.state):
            column.addWidget(part)
        column.addLayout(buttons)
        self.show_prediction(None)

    def show_prediction(self, prediction: Prediction | None) -> None:
        """Show a prediction; None hides the section."""
        self.setVisible(prediction is not None)
        if prediction is None:
            return
        self.title.setText(prediction.title)
        rows = [(item, prediction.volume_of(item.value)) for item in prediction.classes]
        self.legend.show_classes(rows)
        has_labels = prediction.labels is not None
        has_error_map = prediction.error_map is not None
        self.error_legend.setVisible(has_error_map)
        self.save_labels.setEnabled(has_labels and prediction.finished)
        self.save_error_map.setEnabled(has_error_map and prediction.finished)
        self.state.setText(_state_of(prediction))

    def _ask_labels(self) -> None:
        self.save_asked.emit(LABELS)

    def _ask_error_map(self) -> None:
        self.save_asked.emit(ERROR_MAP)


def _state_of(prediction: Prediction) -> str:
    if not prediction.finished:
        return "Still being predicted."
    saved = str(prediction.own.get("saved") or "")
    if saved:
        return f"Labels saved: {saved}"
    if prediction.edited:
        return "Edited and not saved; volumes are those of the prediction."
    return "Not saved yet; closing the window asks first."
