"""Closing the window: files being written are finished, lost edits are asked about."""

import time

import pytest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from e2miseg_napari.close_guard import CloseGuard
from e2miseg_napari.saving import Saver


@pytest.fixture
def window(qtbot) -> QMainWindow:
    window = QMainWindow()
    center = QWidget()
    QWidget(center)  # stands for the canvas
    window.setCentralWidget(center)
    window.show()
    qtbot.addWidget(window)
    return window


@pytest.fixture
def guard(window) -> CloseGuard:
    guard = CloseGuard(window, Saver())
    guard.ask = lambda _trouble: pytest.fail("asked")  # a dialog would wait
    return guard


def close(window: QMainWindow) -> bool:
    done = window.close()
    QApplication.processEvents()
    return done


@pytest.mark.parametrize("closes", [True, False])
def test_edits_that_the_disk_refused_are_asked_about(window, guard, closes):
    asked, ended = [], []
    full = "the disk is full: 3 edits are not saved"
    guard.troubles += [str, lambda: full, lambda: full]
    guard.ask = lambda trouble: asked.append(trouble) or closes
    guard.closed.connect(lambda: ended.append(True))
    assert close(window) is closes
    assert asked == ["the disk is full: 3 edits are not saved"]
    assert bool(ended) == closes


def test_nobody_is_asked_when_all_is_saved(window, guard):
    assert close(window)


def test_a_script_that_closes_the_viewer_is_not_asked(window, guard):
    """`viewer.close()` takes the canvas away first."""
    guard.troubles.append(lambda: "lost")
    for part in window.centralWidget().findChildren(QWidget):
        part.hide()
    assert close(window)


def test_closing_waits_for_a_file_being_written(qtbot, window, guard):
    release = []

    def slow() -> None:
        while not release:
            time.sleep(0.01)

    guard.saver.background.run(slow, lambda _: None, pytest.fail)
    assert not close(window)
    release.append(True)
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=5000)


def test_other_events_pass(window, guard):
    assert not guard.eventFilter(window, QEvent(QEvent.Type.MouseMove))
    assert CloseGuard.of(window) is guard
