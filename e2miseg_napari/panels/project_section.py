"""The line about the open project: where it is, which case, whether all is saved."""

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core.errors import E2MISegError
from e2miseg_core.io.naming import short_name
from e2miseg_core.project import Project
from e2miseg_napari.dialogs import ask_moved_image, ask_project
from e2miseg_napari.panels.parts import TextLine, heading
from e2miseg_napari.problems import problem_of

__all__ = ["ProjectSection"]

_SAVED, _SAVING = "All work is saved.", "Saving…"
_NONE = "None yet. Predict makes one; every stroke is saved in it as you paint."


class ProjectSection(QWidget):
    """Shows the project and its cases; opens and closes one."""

    open_asked = Signal(object)  # Path
    close_asked = Signal()
    case_asked = Signal(str)
    relocate_asked = Signal(object)  # Path
    again_asked = Signal()  # what was removed from the viewer is wanted back
    problem = Signal(object)  # Problem

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QComboBox()
        self.box.setToolTip("Case of the project to show")
        self.box.setAccessibleName("Case")
        self.box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.box.activated.connect(self._on_case)
        self.button = QPushButton("Project")
        self.button.setToolTip("Open or close a project folder (.e2m)")
        menu = QMenu(self.button)
        menu.addAction("Open project…", self._ask_project)
        self._close = menu.addAction("Close project", self.close_asked.emit)
        self.button.setMenu(menu)
        self.facts = TextLine()
        self._known: Path | None = None
        self._continue = QPushButton("Continue")
        self._continue.setToolTip("Open that project")
        self._continue.clicked.connect(self._ask_to_continue)
        self._missing = ""
        self.where = QPushButton("Where is it…")
        self.where.setToolTip("Choose the file or folder where the image is now")
        self.where.clicked.connect(self._ask_where)
        self.again = QPushButton()
        self.again.setToolTip("Put back what was removed from the list of layers")
        self.again.clicked.connect(self.again_asked)
        self.show_taken_away("")
        row = QHBoxLayout()
        row.addWidget(heading("Project"))
        row.addWidget(self.box, 1)
        row.addStretch(0)
        row.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.facts)
        column.addWidget(self._continue)
        column.addWidget(self.where)
        column.addWidget(self.again)
        self._project: Project | None = None
        self._saved = True
        self.show_project(None, "")

    def show_project(
        self, project: Project | None, case: str, *, missing: str = ""
    ) -> None:
        """Show a project and which of its cases is on show.

        Parameters
        ----------
        project : Project or None
        case : str
        missing : str, optional
            Where the case's image was looked for in vain.
        """
        self._project, self._missing = project, missing
        self.where.setVisible(bool(missing))
        names: tuple[str, ...] = ()
        try:
            names = () if project is None else project.cases
        except E2MISegError as error:
            self.problem.emit(problem_of(error))
        self.box.clear()
        self.box.addItems(list(names))
        self.box.setCurrentIndex(names.index(case) if case in names else -1)
        self.box.setVisible(len(names) > 1)
        self._close.setEnabled(project is not None)
        self._continue.setVisible(False)
        self._tell()

    def show_saved(self, saved: bool) -> None:
        """Show whether every edit is on disk."""
        self._saved = saved
        self._tell()

    def show_taken_away(self, what: str) -> None:
        """Offer to show again what the user has removed: "labels", "image" or ""."""
        self.again.setText(
            "Show the image again" if what == "image" else "Show the case again"
        )
        self.again.setVisible(bool(what))

    def suggest(self, path: Path | None) -> None:
        """Before a project is open: offer the one that the image has already."""
        self._known = path
        self._continue.setVisible(self._project is None and path is not None)
        if self._project is None and path is not None:
            self.facts.setText(f"{path.name} holds this image, and your work on it.")
        else:
            self._tell()

    def _tell(self) -> None:
        if self._project is None:
            self.facts.setText(_NONE)
            self.facts.setToolTip("")
            return
        path = self._project.path
        state = _SAVED if self._saved else _SAVING
        if self._missing:
            name = short_name(self._missing)
            state = f"{name} is not where it was."
        self.facts.setText(f"{path.name} – {state}")
        self.facts.setToolTip(str(path))

    def _ask_to_continue(self) -> None:
        if self._known is not None:
            self.open_asked.emit(self._known)

    def _ask_where(self) -> None:
        if path := ask_moved_image(self, self._missing):
            self.relocate_asked.emit(Path(path))

    def _on_case(self, index: int) -> None:
        self.case_asked.emit(self.box.itemText(index))

    def _ask_project(self) -> None:
        if path := ask_project(self):
            self.open_asked.emit(Path(path))
