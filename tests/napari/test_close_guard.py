"""Closing the window: nothing unsaved is lost silently, nothing goes on running."""

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from e2miseg_core.geometry import Geometry
from e2miseg_napari import close_guard
from e2miseg_napari.close_guard import CloseGuard
from e2miseg_napari.convert import KEY
from e2miseg_napari.predictions import Prediction, result_metadata
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
def prediction() -> Prediction:
    geometry = Geometry.from_spacing((4, 5, 6), (1, 1, 1))
    model = {"model": "m", "options": {}, "classes": []}
    own = result_metadata("j", "m – ct", "ct.nii", geometry, model)
    own |= {"role": "labels", "finished": True}
    layer = Labels(np.zeros((4, 5, 6), np.uint8), metadata={KEY: own})
    return Prediction(id="j", labels=layer, error_map=None)


@pytest.fixture
def guard(window, prediction) -> CloseGuard:
    guard = CloseGuard(window, lambda: [prediction] * prediction.unsaved, Saver())
    guard.ask = lambda _unsaved: "discard"  # a dialog would wait for somebody
    return guard


def close(window: QMainWindow) -> bool:
    done = window.close()
    QApplication.processEvents()
    return done


@pytest.mark.parametrize(("answer", "closes"), [("cancel", False), ("discard", True)])
def test_the_answer_decides(window, guard, answer, closes):
    asked = []
    guard.ask = lambda unsaved: asked.append(unsaved) or answer
    ended = []
    guard.closed.connect(lambda: ended.append(True))
    assert close(window) is closes
    assert len(asked) == 1
    assert bool(ended) == closes


def test_nobody_is_asked_when_all_is_saved(window, guard, prediction):
    prediction.labels.metadata[KEY]["saved"] = "x.nii"
    guard.ask = lambda _unsaved: pytest.fail("asked")
    assert close(window)


def test_save_closes_after_the_file_is_written(
    qtbot, window, guard, prediction, monkeypatch
):
    guard.ask = lambda _unsaved: "save"

    def save(_parent, saver, one, _what) -> bool:
        def done(path: Path) -> None:
            one.labels.metadata[KEY]["saved"] = str(path)

        saver.background.run(lambda: Path("x.nii"), done, pytest.fail)
        return True

    monkeypatch.setattr(close_guard, "ask_and_save", save)
    assert not close(window)
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=5000)


def test_a_dismissed_dialog_keeps_the_window(qtbot, window, guard, monkeypatch):
    guard.ask = lambda _unsaved: "save"
    monkeypatch.setattr(close_guard, "ask_and_save", lambda *_: False)
    assert not close(window)
    qtbot.wait(50)
    assert window.isVisible()


def test_a_script_that_closes_the_viewer_is_not_asked(window, guard):
    """`viewer.close()` takes the canvas away first."""
    guard.ask = lambda _unsaved: pytest.fail("asked")
    for part in window.centralWidget().findChildren(QWidget):
        part.hide()
    assert close(window)


def test_closing_waits_for_a_file_being_written(qtbot, window, guard, prediction):
    prediction.labels.metadata[KEY]["saved"] = "x.nii"
    release = []

    def slow() -> None:
        import time

        while not release:
            time.sleep(0.01)

    guard.saver.background.run(slow, lambda _: None, pytest.fail)
    assert not close(window)
    release.append(True)
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=5000)


def test_other_events_pass(window, guard):
    assert not guard.eventFilter(window, QEvent(QEvent.Type.MouseMove))
    assert CloseGuard.of(window) is guard
