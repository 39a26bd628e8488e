"""Counts what was corrected in the open project, again and again, in a thread."""

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from e2miseg_napari.background import Background
from e2miseg_napari.corrections import Corrections, CorrectionsCounter
from e2miseg_napari.problems import problem_of

if TYPE_CHECKING:
    from e2miseg_core.project import LabelStore, Project
    from e2miseg_napari.project_session import ProjectSession

__all__ = ["CorrectionsWatch"]

_REST_MS = 1500  # after an edit


class CorrectionsWatch(QObject):
    """Keeps the count of corrections while somebody looks at it.

    Parameters
    ----------
    session : ProjectSession
        The open project.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    counted = Signal()
    problem = Signal(object)  # Problem

    def __init__(
        self, session: "ProjectSession", parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.corrections = Corrections()
        self._session = session
        self._background = Background(self)
        self._counter = CorrectionsCounter()
        self._looked_at = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._count)
        session.opened.connect(self._on_opened)
        session.edited.connect(self._timer.start)

    def look(self, *, looked_at: bool) -> None:
        """Count now and after edits, or not any more."""
        self._looked_at = looked_at
        if looked_at:
            self._count()

    def _on_opened(self) -> None:
        self.corrections = Corrections()
        self.counted.emit()
        self._count()

    def _count(self) -> None:
        project, store = self._session.project, self._session.store
        if project is None or not self._looked_at:
            return
        if self._background.busy:
            self._timer.start()
            return

        self._background.run(
            lambda: (project, _flush_and_count(self._counter, project, store)),
            self._on_counted,
            self._failed,
        )

    def _on_counted(self, found: "tuple[Project, Corrections]") -> None:
        project, corrections = found
        if self._session.project is project:
            self.corrections = corrections
            self.counted.emit()

    def _failed(self, error: Exception) -> None:
        self.problem.emit(problem_of(error))


def _flush_and_count(
    counter: CorrectionsCounter, project: "Project", store: "LabelStore | None"
) -> Corrections:
    if store is not None:
        store.flush()
    return counter.count(project)
