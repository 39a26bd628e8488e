"""Sees the window close: what is being written is finished, then all that runs ends."""

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

from e2miseg_napari.saving import Saver

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CloseGuard"]


class CloseGuard(QObject):
    """Watches the main window as long as it lives, whether the panel is open or not.

    Labels need no question: every stroke is in the project already. Only where the
    disk has refused them the user is asked.

    Parameters
    ----------
    window : QMainWindow
        The viewer's; becomes the owner.
    saver : Saver
        Writes files.
    """

    closed = Signal()  # the window has been closed: end what runs

    def __init__(self, window: QMainWindow, saver: Saver) -> None:
        super().__init__(window)
        self.saver = saver
        saver.setParent(self)
        # Each says what cannot be saved, in words; empty as long as all is well.
        self.troubles: list[Callable[[], str]] = []
        # Replaceable: a test, or a script without a user, answers by itself.
        self.ask: Callable[[str], bool] = self._ask
        self._closing_when_idle = False
        saver.background.idle.connect(self._on_idle)
        window.installEventFilter(self)

    @property
    def window(self) -> QMainWindow:
        """The window watched, which no reference from here keeps alive."""
        window = self.parent()
        if not isinstance(window, QMainWindow):
            msg = "the guard has lost its window"
            raise TypeError(msg)
        return window

    @classmethod
    def of(cls, window: QMainWindow) -> "CloseGuard | None":
        """Guard that a window has already."""
        found = window.findChildren(cls)
        return found[0] if found else None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stop the window's closing where something would be lost (Qt's name)."""
        if event.type() != QEvent.Type.Close or watched is not self.parent():
            return False
        if not self._may_close():
            event.ignore()
            return True
        if self._closed_by_user():  # napari may still refuse
            QTimer.singleShot(0, self._check_closed)
        else:
            self.closed.emit()
        return False

    def _may_close(self) -> bool:
        if not self._closed_by_user():
            return True
        if self.saver.background.busy:
            self._closing_when_idle = True
            self.saver.started.emit("The window closes as soon as the file is written…")
            return False
        told = dict.fromkeys(trouble() for trouble in self.troubles)
        trouble = "\n".join(line for line in told if line)
        return not trouble or self.ask(trouble)

    def _closed_by_user(self) -> bool:
        """Tell a click from `viewer.close()`, which takes the canvas away first."""
        if not self.window.isVisible():
            return False
        center = self.window.centralWidget()
        return any(part.isVisible() for part in center.findChildren(QWidget))

    def _check_closed(self) -> None:
        if not self.window.isVisible():
            self.closed.emit()

    def _on_idle(self) -> None:
        if self._closing_when_idle:
            self._closing_when_idle = False
            self.window.close()

    def _ask(self, trouble: str) -> bool:
        """Whether to close although work is lost."""
        box = QMessageBox(self.window)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle("Edits that cannot be saved")
        box.setText(trouble)
        box.setInformativeText("Close and lose them?")
        button = QMessageBox.StandardButton
        box.setStandardButtons(button.Close | button.Cancel)
        box.setDefaultButton(button.Cancel)
        return button(box.exec()) == button.Close
