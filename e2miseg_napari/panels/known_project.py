"""The project that an image belongs to already, looked for in a thread."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from e2miseg_napari.background import Background
from e2miseg_napari.images import ImageChoice
from e2miseg_napari.project_places import find_project

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["KnownProject"]


class KnownProject(QObject):
    """Knows the project of one image at a time.

    Parameters
    ----------
    parent : QObject, optional
        Owner in Qt's sense.
    """

    changed = Signal()
    problem = Signal(object)  # Exception

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._background = Background(self)
        self._image: tuple[Layer, str] | None = None
        self.path: Path | None = None

    def look(self, choice: ImageChoice | None) -> None:
        """Look for an image's project; what is known of the same image stays so long.

        None where no project is to be offered.
        """
        # Choices are made anew whenever the layers change.
        image = None if choice is None else (choice.layer, choice.uri)
        if image != self._image:
            self._image = image
            self._tell(None)
        if choice is None:
            return

        def done(found: tuple[Path, str] | None) -> None:
            if self._image == image:
                self._tell(None if found is None else found[0])

        self._background.run(lambda: find_project(choice), done, self.problem.emit)

    def _tell(self, path: Path | None) -> None:
        if path != self.path:
            self.path = path
            self.changed.emit()
