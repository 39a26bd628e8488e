"""Section "Result": what the colours mean, how large the classes are, saving files."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from e2miseg_core.errors import E2MISegError
from e2miseg_core.project import Case, CasePrediction
from e2miseg_napari.panels.parts import ClassLegend, ErrorLegend, TextLine, heading
from e2miseg_napari.problems import problem_of
from e2miseg_napari.saving import EDGE_MAP, ERROR_MAP, LABELS
from e2miseg_napari.wording import volume_in_words

__all__ = ["ResultSection"]


class ResultSection(QWidget):
    """Legend of the case on show, and the buttons that write files."""

    save_asked = Signal(str)  # LABELS, ERROR_MAP or EDGE_MAP
    problem = Signal(object)  # Problem

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = TextLine()
        self.legend = ClassLegend()
        self.error_legend = ErrorLegend()
        self.save_labels = QPushButton("Save labels…")
        self.save_labels.setToolTip(
            "Write the corrected labels to a file, on the exact grid of their image"
        )
        self.save_labels.clicked.connect(self._ask_labels)
        self.save_error_map = QPushButton("Save error map…")
        self.save_error_map.setToolTip(
            "Write the chance of error, 0 to 1, on the exact grid of the image"
        )
        self.save_error_map.clicked.connect(self._ask_error_map)
        self.save_edge_map = QPushButton("Save edge map…")
        self.save_edge_map.setToolTip(
            "Write the probability of an edge, 0 to 1, on the exact grid of the image"
        )
        self.save_edge_map.clicked.connect(self._ask_edge_map)
        buttons = QHBoxLayout()
        buttons.addWidget(self.save_labels)
        buttons.addWidget(self.save_error_map)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(heading("Result"))
        for part in (self.title, self.legend, self.error_legend):
            column.addWidget(part)
        column.addLayout(buttons)
        column.addWidget(self.save_edge_map)
        self.show_case(None)

    def show_case(self, case: Case | None) -> None:
        """Show a case's merged prediction; None, or none yet, hides the section."""
        prediction = None
        try:
            prediction = None if case is None else case.merged
        except E2MISegError as error:
            self.problem.emit(problem_of(error))
        self.setVisible(prediction is not None)
        if case is not None and prediction is not None:
            self._describe(case, prediction)

    def _describe(self, case: Case, prediction: CasePrediction) -> None:
        self.title.setText(
            f"{case.name}, prediction {prediction.number} by version "
            f"{prediction.version}; volumes as predicted"
        )
        self.save_edge_map.setVisible(prediction.edge_map is not None)
        voxels = prediction.figures.get("voxels", {})
        geometry = case.geometry
        self.legend.show_classes(
            [
                (
                    item,
                    volume_in_words(
                        int(voxels.get(str(item.value), 0)),
                        geometry.spacing,
                        geometry.unit,
                    ),
                )
                for item in case.project.classes
            ]
        )

    def _ask_labels(self) -> None:
        self.save_asked.emit(LABELS)

    def _ask_edge_map(self) -> None:
        self.save_asked.emit(EDGE_MAP)

    def _ask_error_map(self) -> None:
        self.save_asked.emit(ERROR_MAP)
