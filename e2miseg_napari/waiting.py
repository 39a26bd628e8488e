"""Waiting for long work without freezing the window."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from qtpy.QtCore import QEventLoop, Qt, QThread, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QLabel,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core.errors import Cancelled
from e2miseg_core.progress import Progress
from e2miseg_napari.modal import run_dialog

__all__ = ["WaitingDialog", "live_window", "wait_for"]

T = TypeVar("T")

_QUIET_MS = 500  # shorter waits need no dialog
_LOOK_MS = 30
_SHOW_MS = 100
_WIDTH = 380  # pixels
_STEPS = 1000  # of the bar

Report: TypeAlias = Callable[[Progress], None]
# Gets a function to report with, and one that says whether the user has cancelled.
Work: TypeAlias = Callable[[Report, Callable[[], bool]], T]


def live_window() -> QWidget | None:
    """The window that a user is acting in now; None for scripts and other threads.

    In a script, or at the prompt of IPython, no event loop is running while Python is
    called, so what goes wrong can be raised to whoever called.
    """
    app = QApplication.instance()
    thread = QThread.currentThread()
    if not isinstance(app, QApplication) or thread is not app.thread():
        return None
    if thread is None or thread.loopLevel() == 0:
        return None
    windows = [one for one in app.topLevelWidgets() if isinstance(one, QMainWindow)]
    return next((window for window in windows if window.isVisible()), None)


def wait_for(work: Work[T], parent: QWidget, *, what: str) -> T:
    """Do work in a thread while the window goes on living; return what it returns.

    Parameters
    ----------
    work : callable
        See `Work`.
    parent : QWidget
        For the dialog that appears after half a second, with a button to cancel.
    what : str
        What the work is, in a word such as "opening".

    Raises
    ------
    Cancelled
        If the user did, or closed the window, at once: what the thread is doing then
        ends unheard.
    Exception
        Whatever the work raises.
    """
    run = _Run(work, what)
    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: loop.quit() if run.over else None)
    timer.start(_LOOK_MS)
    QTimer.singleShot(_QUIET_MS, loop.quit)
    # Nothing else may be clicked meanwhile: napari is in the middle of opening.
    loop.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
    timer.stop()
    if not run.over:
        # How far it is, until it is over or the user cancels.
        run_dialog(lambda: WaitingDialog(run, parent), parent)
    return run.result()


class _Run(Generic[T]):
    """Work in a thread of its own, which ends with the program if nobody waits."""

    def __init__(self, work: Work[T], what: str) -> None:
        self.what = what
        self.step = Progress(done=0, total=0, stage="")
        self.over = False
        self.cancelled = False
        self._values: list[T] = []
        self._error: Exception | None = None
        threading.Thread(target=self._do, args=(work,), daemon=True).start()

    def result(self) -> T:
        if not self.over:
            self.cancelled = True
            raise Cancelled(self.what)
        # Kept, it would hold by its traceback all who wait, the window among them.
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error
        return self._values[0]

    def _do(self, work: Work[T]) -> None:
        try:
            self._values.append(work(self._report, lambda: self.cancelled))
        except Exception as error:  # noqa: BLE001 - raised again by `result`
            self._error = error
        self.over = True

    def _report(self, step: Progress) -> None:
        self.step = step


class WaitingDialog(QDialog):
    """How far work is, and a button to cancel.

    Qt's own dialog of progress runs the event loop whenever it gets a value.
    """

    def __init__(self, run: "_Run[Any]", parent: QWidget) -> None:
        super().__init__(parent)
        self._run = run
        self.setWindowTitle(run.what.capitalize())
        self.setWindowModality(Qt.WindowModality.ApplicationModal)
        self.setMinimumWidth(_WIDTH)
        self.words = QLabel()
        self.bar = QProgressBar()
        self.bar.setMaximum(0)
        self.button = QPushButton("Cancel")
        self.button.clicked.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.words)
        column.addWidget(self.bar)
        column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignRight)
        timer = QTimer(self)
        timer.timeout.connect(self._look)
        timer.start(_SHOW_MS)
        self._look()

    def _look(self) -> None:
        if self._run.over:
            self.accept()
            return
        step = self._run.step
        self.words.setText(step.stage[:1].upper() + step.stage[1:] + "…")
        self.bar.setMaximum(_STEPS if step.total else 0)
        if step.total:
            self.bar.setValue(_STEPS * step.done // step.total)
