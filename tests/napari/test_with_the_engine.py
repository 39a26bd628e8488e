"""The real widget, the real worker, a real network: from the sample to its labels."""

import subprocess
import sys
import textwrap

import napari
import numpy as np
import psutil
import pytest
from qtpy.QtCore import Qt

from e2miseg_core.models import add_model
from e2miseg_napari.panels.main import MainPanel
from e2miseg_napari.predicting import Phase

pytestmark = pytest.mark.slow

WAIT = 240_000  # the worker imports torch, on a machine that may be busy


@pytest.fixture(autouse=True)
def model(tiny_model, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    add_model(tiny_model)


@pytest.fixture
def viewer(make_napari_viewer) -> napari.Viewer:
    return make_napari_viewer()


@pytest.fixture
def panel(viewer) -> MainPanel:
    viewer.open_sample("e2miseg-napari", "phantom")
    _, panel = viewer.window.add_plugin_dock_widget("e2miseg-napari", "E2MISeg")
    panel.attach()
    assert panel.predict.model.choose("tiny")
    return panel


def press(qtbot, panel) -> None:
    button = panel.predict.button
    panel.show_tab(panel.predict)
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_until(qtbot, condition) -> None:
    qtbot.waitUntil(condition, timeout=WAIT)


def test_predict_cancel_in_the_middle_predict_to_the_end(qtbot, viewer, panel):
    image = viewer.layers[0]
    predicting = panel.predicting
    press(qtbot, panel)
    wait_until(qtbot, lambda: predicting.state.done >= 2)
    assert predicting.state.done < predicting.state.total
    worker = panel.client.pid
    press(qtbot, panel)
    wait_until(qtbot, lambda: predicting.state.phase == Phase.IDLE)
    assert panel.session.case.predictions() == []
    press(qtbot, panel)
    wait_until(qtbot, lambda: predicting.state.phase == Phase.IDLE)
    assert panel.client.pid == worker  # it has stayed, with its model
    values = np.asarray(panel.session.store.levels[0][:, :, :])
    assert values.shape == image.data.shape
    assert set(np.unique(values)) <= {0, 1, 2}
    prediction = panel.session.case.prediction
    told = prediction.figures["voxels"]
    for value in (1, 2):
        assert told.get(str(value), 0) == (values == value).sum()
    chances = np.asarray(panel.session.error_layer.data)
    assert chances.any()
    assert chances.max() <= 170  # of three classes the likeliest has 1/3 at least
    for layer in (panel.session.labels_layer, panel.session.error_layer):
        np.testing.assert_array_equal(layer.scale, image.scale)
        np.testing.assert_array_equal(layer.translate, image.translate)
        assert layer.units == image.units
    assert panel.message.text.text().startswith("Done in")
    assert len(panel.reviewing.entries) == len(prediction.edges()) > 0


def test_closing_the_window_in_the_middle_leaves_nothing(
    qtbot, viewer, panel, wait_for
):
    press(qtbot, panel)
    wait_until(qtbot, lambda: panel.predicting.state.done >= 1)
    worker = psutil.Process(panel.client.pid)
    family = [worker, *worker.children(recursive=True)]
    viewer.close()
    assert wait_for(lambda: not any(map(_runs, family)), 5)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


DEMO = """
    import napari
    from qtpy.QtCore import QTimer
    from e2miseg_napari import demo

    viewer, panel = demo.open_demo()
    print([layer.name for layer in viewer.layers], panel.predict.model.entry.name)
    client = panel.client

    def leave(_ready):
        print("worker", client.pid)
        QTimer.singleShot(500, napari._qt.qt_event_loop.quit_app)

    client.ready.connect(leave)
    napari.run()
    print("left")
"""


def test_the_demo_opens_ready_to_predict_and_leaves_nothing(wait_for):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DEMO)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("['phantom']"), done.stderr[-3000:]
    assert lines[-1] == "left", done.stderr[-3000:]
    pid = int(lines[1].removeprefix("worker "))
    assert wait_for(lambda: not psutil.pid_exists(pid), 5)
    assert "Destroyed while process" not in done.stderr
