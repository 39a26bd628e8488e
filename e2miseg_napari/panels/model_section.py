"""Section "Model": which one, what it finds, and whether it fits the image."""

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core.errors import E2MISegError
from e2miseg_core.model_card import ModelCard, read_card
from e2miseg_core.models import (
    ModelEntry,
    add_model,
    list_models,
    models_folder,
    name_to_install,
)
from e2miseg_core.project import Project, Version
from e2miseg_napari.dialogs import ask_model_file, ask_replace_model
from e2miseg_napari.fit import Fit
from e2miseg_napari.panels.parts import TextLine, classes_as_html, heading
from e2miseg_napari.problems import problem_of

__all__ = ["ModelSection"]


class ModelSection(QWidget):
    """Lets the user choose among starter and installed models, or add one."""

    chosen = Signal()
    problem = Signal(object)  # Problem

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entries: list[ModelEntry] = []
        self.box = QComboBox()
        self.box.setToolTip("Model to segment with")
        self.box.setAccessibleName("Model")
        self.box.setPlaceholderText("no model yet")
        self.box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.box.currentIndexChanged.connect(self._on_chosen)
        self.button = QPushButton("Add…")
        self.button.setToolTip("Add a model file (.safetensors) to the list")
        self.button.clicked.connect(self._ask_file)
        self._version: ModelCard | None = None  # of the open project
        self.version = TextLine()
        self.classes = TextLine()
        self.about = TextLine()
        self.doubt = TextLine()
        row = QHBoxLayout()
        row.addWidget(self.box, 1)
        row.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(heading("Model"))
        column.addLayout(row)
        for line in (self.version, self.classes, self.about, self.doubt):
            column.addWidget(line)
        self.reload()

    @property
    def entry(self) -> ModelEntry | None:
        """The model chosen."""
        index = self.box.currentIndex()
        return self._entries[index] if 0 <= index < len(self._entries) else None

    @property
    def card(self) -> ModelCard | None:
        """Card of the model that predicts: the open project's, else the chosen one."""
        entry = self.entry
        return self._version or (None if entry is None else entry.card)

    def show_project(self, project: Project | None) -> None:
        """Show the model of an open project, which cannot be chosen here."""
        version = None
        try:
            version = None if project is None else project.version
        except E2MISegError as error:
            self.problem.emit(problem_of(error))
        self._version = None if version is None else version.card
        for part in (self.box, self.button):
            part.setVisible(project is None)
        self.version.setVisible(project is not None)
        if project is not None:
            self._tell(project, version)
        self._on_chosen()

    def _tell(self, project: Project, version: Version | None) -> None:
        """Say which model an open project has."""
        if version is None:
            self.version.setText(f"The model of {project.path.name} cannot be read.")
            return
        number, name = version.number, version.card.name
        what = "as it came" if number == 0 else f"fine-tuned version {number}"
        self.version.setText(f"{name}, {what}, of {project.path.name}")
        self.version.setToolTip(
            "Versions are changed on the tab Fine-tune; another model needs a "
            "project of its own"
        )

    def reload(self, name: str = "") -> None:
        """Look for models again, and choose one by name."""
        entry = self.entry
        name = name or ("" if entry is None else entry.name)
        self._entries = list_models()
        names = [entry.name for entry in self._entries]
        blocked = self.box.blockSignals(True)
        self.box.clear()
        self.box.addItems(names)
        first = 0 if names else -1
        self.box.setCurrentIndex(names.index(name) if name in names else first)
        self.box.blockSignals(blocked)
        self._on_chosen()

    def choose(self, name: str) -> bool:
        """Choose a model by name; False if there is none of that name."""
        index = self.box.findText(name)
        if index >= 0:
            self.box.setCurrentIndex(index)
        return index >= 0

    def add(self, path: Path) -> None:
        """Install a model file and choose it."""
        try:
            name = name_to_install(path, read_card(path))
            taken = (models_folder() / f"{name}.safetensors").exists()
            if taken and not ask_replace_model(self, name):
                return
            entry = add_model(path, overwrite=taken)
        except E2MISegError as error:
            self.problem.emit(problem_of(error))
            return
        self.reload(entry.name)

    def show_fit(self, fit: Fit) -> None:
        """Show why the model does not fit the image, or what is doubtful."""
        line = fit.refusal or fit.doubt
        self.doubt.setText(f"⚠ {line}" if line else "")
        self.doubt.setVisible(bool(line))

    def _on_chosen(self, _index: int = 0) -> None:
        card = self.card
        self.classes.setVisible(card is not None)
        self.about.setVisible(card is not None)
        if card is not None:
            self.classes.setText(classes_as_html(card.labels))
            self.about.setText(_about(card))
            self.about.setToolTip(_more_about(card))
        self.chosen.emit()

    def _ask_file(self) -> None:
        if path := ask_model_file(self):
            self.add(Path(path))


def _about(card: ModelCard) -> str:
    description = card.description.strip().rstrip(".")
    parts = [f"{description}." if description else ""]
    known = card.licence not in {"", "unknown"}
    parts.append(f"Licence: {card.licence if known else 'unknown'}.")
    return " ".join(part for part in parts if part)


def _more_about(card: ModelCard) -> str:
    steps = " × ".join(f"{step:.3g}" for step in card.spacing)
    facts = [
        f"Intended use: {card.intended_use}" if card.intended_use else "",
        f"Trained on voxels of {steps} mm, channels: {', '.join(card.channels)}",
        f"Credit: {card.credit}" if card.credit else "",
        f"Hash: {card.hash[:12]}" if card.hash else "",
    ]
    return "\n".join(fact for fact in facts if fact)
