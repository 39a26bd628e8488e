"""The fine-tuning that was left in the middle, offered once nobody is at work on it."""

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from e2miseg_core.errors import E2MISegError
from e2miseg_core.project.jobs import is_at_work
from e2miseg_napari.finetune_jobs import UnfinishedJob, find_unfinished

if TYPE_CHECKING:
    from e2miseg_core.project import Project

__all__ = ["FinetuneOffer"]

_LOOK_MS = 3000  # until it is asked again whether somebody else is still at work


class FinetuneOffer(QObject):
    """Looks for it in one project at a time.

    Parameters
    ----------
    parent : QObject, optional
        Owner in Qt's sense.
    """

    changed = Signal()  # there is another one, or none
    problem = Signal(object)  # Exception

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project: Project | None = None
        self._found: UnfinishedJob | None = None
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_LOOK_MS)
        self._later.timeout.connect(self._look)

    @property
    def found(self) -> UnfinishedJob | None:
        """What can be resumed."""
        return self._found

    def look(self, project: "Project | None") -> None:
        """Look in a project, again and again while somebody is at work there."""
        self._project = project
        self._look()

    def withdraw(self) -> None:
        """Offer nothing, and look no more."""
        self._later.stop()
        self._show(None)

    def _look(self) -> None:
        project = self._project
        try:
            found = None if project is None else find_unfinished(project.path)
            busy = found is not None and is_at_work(found.folder)
        except (E2MISegError, OSError) as error:
            self._show(None)  # what was found in another project is none here
            self.problem.emit(error)
            return
        self._show(None if busy else found)
        if busy:
            self._later.start()

    def _show(self, found: UnfinishedJob | None) -> None:
        self._found = found
        self.changed.emit()
