"""Asks before a window with unsaved predictions closes; then ends what runs."""

from collections.abc import Callable, Sequence

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

from e2miseg_napari.dialogs import ask_and_save
from e2miseg_napari.predictions import Prediction
from e2miseg_napari.saving import LABELS, Saver

__all__ = ["CloseGuard"]


class CloseGuard(QObject):
    """Watches the main window as long as it lives, whether the panel is open or not.

    Parameters
    ----------
    window : QMainWindow
        The viewer's; becomes the owner.
    unsaved : callable
        Returns the predictions that closing would lose; it must not keep the viewer
        alive.
    saver : Saver
        Writes them.
    """

    closed = Signal()  # the window has been closed: end what runs

    def __init__(
        self,
        window: QMainWindow,
        unsaved: Callable[[], Sequence[Prediction]],
        saver: Saver,
    ) -> None:
        super().__init__(window)
        self._unsaved = unsaved
        self.saver = saver
        saver.setParent(self)
        # Replaceable: a test, or a script without a user, answers by itself.
        self.ask: Callable[[Sequence[Prediction]], str] = self._ask
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
        unsaved = self._unsaved()
        if not unsaved:
            return True
        answer = self.ask(unsaved)
        if answer == "save":
            self._closing_when_idle = all(
                ask_and_save(self.window, self.saver, prediction, LABELS)
                for prediction in unsaved
            )
        return answer == "discard"

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

    def _ask(self, unsaved: Sequence[Prediction]) -> str:
        titles = "\n".join(f"•  {prediction.title}" for prediction in unsaved)
        box = QMessageBox(self.window)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle("Unsaved labels")
        box.setText("Labels that are not saved are lost when the window closes:")
        box.setInformativeText(titles)
        button = QMessageBox.StandardButton
        box.setStandardButtons(button.Save | button.Discard | button.Cancel)
        box.setDefaultButton(button.Save)
        answer = box.exec()
        return {button.Save: "save", button.Discard: "discard"}.get(
            button(answer), "cancel"
        )
