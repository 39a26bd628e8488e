"""Questions and waits whose window is closed in the middle of them."""

import threading

import pytest
from qtpy.QtCore import QCoreApplication, QEvent, QTimer
from qtpy.QtWidgets import QWidget

from e2miseg_core.errors import Cancelled, Choice
from e2miseg_napari import waiting
from e2miseg_napari.choosing import ask_choices


@pytest.fixture
def window(qtbot):
    """A window that is gone half a second after it is shown."""
    made = QWidget()
    made.show()

    def remove() -> None:
        made.deleteLater()
        # At once: otherwise only a loop farther out would do it.
        QCoreApplication.sendPostedEvents(made, QEvent.Type.DeferredDelete)

    QTimer.singleShot(500, remove)
    return made


def test_a_question_without_its_window_is_answered_by_no(window):
    assert ask_choices("study", [Choice("1", "CT"), Choice("2", "PT")], window) == []


def test_waiting_without_its_window_is_cancelled(window, monkeypatch):
    monkeypatch.setattr(waiting, "_QUIET_MS", 50)
    go = threading.Event()
    try:
        with pytest.raises(Cancelled):
            waiting.wait_for(lambda *_: go.wait(10), window, what="opening")
    finally:
        go.set()


def test_a_window_that_went_before_the_dialog_came_cancels(window):
    # Gone at the same moment that the dialog would be made for it.
    go = threading.Event()
    QTimer.singleShot(1500, go.set)
    try:
        with pytest.raises(Cancelled):
            waiting.wait_for(lambda *_: go.wait(10), window, what="opening")
    finally:
        go.set()
