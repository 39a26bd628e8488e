"""The real widget in a real viewer, driven against a worker whose answer is known."""

import gc
import sys
import weakref
from pathlib import Path

import napari
import nibabel as nib
import numpy as np
import pytest
from napari.settings import get_settings
from qtpy.QtCore import Qt

from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.models import add_model, models_folder
from e2miseg_napari import dialogs
from e2miseg_napari.close_guard import CloseGuard
from e2miseg_napari.controller import Phase
from e2miseg_napari.convert import KEY
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.panels.predict import PredictPanel

WORKER = Path(__file__).with_name("phantom_worker.py")
THRESHOLDS = (60.0, 90.0)  # as the worker's
QUICK, SLOW = "0.01", "0.25"  # seconds a block
WAIT = 60_000


@pytest.fixture(autouse=True)
def models(tiny_model, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    add_model(tiny_model)
    return models_folder()


@pytest.fixture
def viewer(make_napari_viewer) -> napari.Viewer:
    return make_napari_viewer()


@pytest.fixture
def open_panel(viewer, qtbot, children):
    """Dock a panel whose worker takes some seconds a block."""
    before = children()
    panels = []

    def make(pause: str) -> PredictPanel:
        client = EngineClient([sys.executable, "-u", str(WORKER), pause])
        panel = PredictPanel(viewer, client)
        viewer.window.add_dock_widget(panel, name="E2MISeg")
        panel._attach()
        panel.model.choose("tiny")
        panels.append(panel)
        return panel

    make.forget = panels.remove
    yield make
    for panel in panels:
        panel.controller.shutdown(at_once=True)
    qtbot.waitUntil(lambda: children() <= before, timeout=10_000)


def click(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_for_phase(qtbot, panel, phase) -> None:
    qtbot.waitUntil(lambda: panel.controller.state.phase == phase, timeout=WAIT)


def predict(qtbot, panel) -> None:
    click(qtbot, panel.button)
    wait_for_phase(qtbot, panel, Phase.IDLE)


def expected_labels(image: np.ndarray) -> np.ndarray:
    return np.digitize(image, np.percentile(image, THRESHOLDS)).astype(np.uint8)


def sample(viewer):
    (layer,) = viewer.open_sample("e2miseg-napari", "phantom")
    return layer


def test_without_a_volume_nothing_can_be_predicted(open_panel):
    panel = open_panel(QUICK)
    assert not panel.button.isEnabled()
    assert panel.button.toolTip() == "Open a volume first"


def test_open_sample_predict_and_look(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    assert panel.volume.choice.layer is image
    assert "64 × 112 × 96 voxels" in panel.volume.facts.text()
    predict(qtbot, panel)
    labels, error_map = viewer.layers[1], viewer.layers[2]
    expected = expected_labels(np.asarray(image.data))
    np.testing.assert_array_equal(np.asarray(labels.data), expected)
    np.testing.assert_array_equal(
        np.asarray(error_map.data), np.where(expected == 1, 128, 0)
    )
    for layer in (labels, error_map):
        np.testing.assert_array_equal(layer.scale, image.scale)
        np.testing.assert_array_equal(layer.translate, image.translate)
        assert layer.units == image.units
    assert labels.name == "labels: tiny – phantom"
    assert error_map.name == "error map: tiny – phantom"
    assert labels.editable
    assert viewer.layers.selection.active is labels
    shown = np.asarray(labels._slice.image.raw)
    z = int(viewer.dims.current_step[0])
    np.testing.assert_array_equal(shown, expected[z])


def test_the_legend_names_classes_with_their_volumes(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    assert not panel.result.isVisibleTo(panel)
    predict(qtbot, panel)
    grid = panel.result.legend._grid
    texts = [
        [grid.itemAtPosition(row, column).widget().text() for column in (1, 2)]
        for row in range(2)
    ]
    expected = expected_labels(np.asarray(image.data))
    ml = float(np.prod(image.scale)) / 1000
    volumes = [(expected == value).sum() * ml for value in (1, 2)]
    assert [name for name, _ in texts] == ["first & best", "second"]
    assert [float(text.split()[0]) for _, text in texts] == [
        pytest.approx(volume, rel=0.01) for volume in volumes
    ]
    assert panel.result.isVisibleTo(panel)
    assert "Not saved yet" in panel.result.state.text()


def test_progress_is_told_while_blocks_appear(qtbot, viewer, open_panel):
    panel = open_panel(SLOW)
    sample(viewer)
    viewer.dims.set_current_step(0, 5)  # the first blocks
    lines, steps = [], []
    panel.controller.job_changed.connect(lambda state: lines.append(state.line))
    panel.controller.job_changed.connect(lambda state: steps.append(state.done))
    click(qtbot, panel.button)
    assert panel.button.text() == "Cancel"
    assert not panel.volume.isEnabled()
    qtbot.waitUntil(lambda: panel.controller.state.done >= 8, timeout=WAIT)
    qtbot.wait(700)
    labels = viewer.layers[1]
    assert np.asarray(labels._slice.image.raw).any()  # before the end
    assert not labels.editable  # the worker writes there
    assert panel.progress.isVisibleTo(panel)
    assert lines[0] == "starting the engine…"
    assert any(line.startswith("tile 3 of 24, about") for line in lines)
    assert steps == sorted(steps)
    click(qtbot, panel.button)
    wait_for_phase(qtbot, panel, Phase.IDLE)


def test_cancel_then_predict_again(qtbot, viewer, open_panel):
    panel = open_panel(SLOW)
    image = sample(viewer)
    click(qtbot, panel.button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=WAIT)
    click(qtbot, panel.button)
    assert not panel.button.isEnabled()
    wait_for_phase(qtbot, panel, Phase.IDLE)
    assert list(viewer.layers) == [image]
    assert panel.button.text() == "Predict"
    assert "incomplete result was removed" in panel.message.text.text()
    predict(qtbot, panel)
    np.testing.assert_array_equal(
        np.asarray(viewer.layers[1].data), expected_labels(np.asarray(image.data))
    )


def test_an_array_from_anywhere_can_be_predicted(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    values = np.random.default_rng(0).normal(0, 1, (40, 70, 50)).astype(np.float32)
    image = viewer.add_image(values, scale=(3, 1, 1), translate=(5, 0, -4), name="mine")
    assert "not from a file" in panel.volume.remarks.text()
    predict(qtbot, panel)
    labels = viewer.layers[1]
    np.testing.assert_array_equal(np.asarray(labels.data), expected_labels(values))
    np.testing.assert_array_equal(labels.translate, image.translate)


def test_it_works_with_async_slicing(qtbot, viewer, open_panel):
    get_settings().experimental.async_ = True
    panel = open_panel(QUICK)
    image = sample(viewer)
    predict(qtbot, panel)
    labels = viewer.layers[1]
    qtbot.waitUntil(lambda: labels.loaded, timeout=WAIT)
    expected = expected_labels(np.asarray(image.data))
    np.testing.assert_array_equal(np.asarray(labels.data), expected)
    z = int(viewer.dims.current_step[0])
    qtbot.waitUntil(
        lambda: np.array_equal(np.asarray(labels._slice.image.raw), expected[z]),
        timeout=WAIT,
    )


def test_in_three_dimensions_the_end_is_shown(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    viewer.dims.ndisplay = 3
    predict(qtbot, panel)
    np.testing.assert_array_equal(
        np.asarray(viewer.layers[1]._slice.image.raw),
        expected_labels(np.asarray(image.data)),
    )


def test_a_rotated_layer_is_refused_before_anything_starts(viewer, open_panel):
    panel = open_panel(QUICK)
    with pytest.warns(UserWarning, match="Non-orthogonal"):
        viewer.add_image(np.zeros((9, 9, 9)), rotate=(30, 0, 0))
    assert not panel.button.isEnabled()
    assert "rotated or sheared" in panel.button.toolTip()


def test_a_volume_with_other_channels_is_refused(viewer, open_panel, tmp_path):
    panel = open_panel(QUICK)
    path = tmp_path / "two.nii"
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9, 2), np.float32), np.eye(4)), path)
    viewer.open(str(path), plugin="e2miseg-napari")
    assert panel.volume.box.count() == 1  # one volume, two layers
    assert panel.volume.choice.title == "two"
    assert not panel.button.isEnabled()
    assert "2 channels; needed: 1" in panel.model.doubt.text()


def test_a_volume_opens_from_the_panel(qtbot, viewer, open_panel, oblique_scan):
    panel = open_panel(QUICK)
    panel.volume.open_asked.emit(str(oblique_scan))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=WAIT)
    assert panel.volume.choice.title == "scan"
    assert "oblique scan" in panel.volume.remarks.text()


def test_a_damaged_file_is_one_line_in_the_panel(qtbot, viewer, open_panel, tmp_path):
    panel = open_panel(QUICK)
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(b"no nifti")
    with qtbot.waitSignal(panel.controller.problem):
        panel.volume.open_asked.emit(str(path))
    line = panel.message.text.text()
    assert "bad.nii.gz" in line
    assert "\n" not in line
    assert not panel.message.details.isVisibleTo(panel)


def test_an_error_of_the_worker_is_one_line(qtbot, viewer, open_panel, oblique_scan):
    panel = open_panel(QUICK)
    viewer.open(str(oblique_scan), plugin="e2miseg-napari")
    oblique_scan.unlink()
    predict(qtbot, panel)
    assert "No such file" in panel.message.text.text()
    assert len(viewer.layers) == 1
    assert panel.button.isEnabled()


def test_a_dying_worker_leaves_a_usable_panel(qtbot, viewer, open_panel):
    panel = open_panel(SLOW)
    image = sample(viewer)
    click(qtbot, panel.button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=WAIT)
    panel.controller.client._worker.kill()
    wait_for_phase(qtbot, panel, Phase.IDLE)
    assert list(viewer.layers) == [image]
    assert "engine stopped unexpectedly" in panel.message.text.text()
    predict(qtbot, panel)
    assert len(viewer.layers) == 3


@pytest.mark.parametrize(("which", "left"), [(0, 0), (1, 1)], ids=["image", "labels"])
def test_removing_a_layer_it_needs_cancels(qtbot, viewer, open_panel, which, left):
    panel = open_panel(SLOW)
    sample(viewer)
    click(qtbot, panel.button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=WAIT)
    viewer.layers.pop(which)
    wait_for_phase(qtbot, panel, Phase.IDLE)
    assert len(viewer.layers) == left  # the image, where it is still there


def test_the_same_prediction_replaces_itself(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    first = viewer.layers[1]
    predict(qtbot, panel)
    assert len(viewer.layers) == 3
    assert first not in viewer.layers


def test_what_somebody_painted_is_never_replaced(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    first = viewer.layers[1]
    first.paint((3, 4, 5), 2)
    predict(qtbot, panel)
    assert len(viewer.layers) == 5
    assert first in viewer.layers
    assert not first.visible  # two over each other show neither
    assert int(np.asarray(first.data[3, 4, 5])) == 2
    viewer.layers.selection.active = first
    assert "Edited and not saved" in panel.result.state.text()


def test_a_failed_second_prediction_shows_the_first_again(qtbot, viewer, open_panel):
    panel = open_panel(SLOW)
    sample(viewer)
    predict(qtbot, panel)
    click(qtbot, panel.button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=WAIT)
    assert not viewer.layers[1].visible
    click(qtbot, panel.button)
    wait_for_phase(qtbot, panel, Phase.IDLE)
    assert len(viewer.layers) == 3
    assert viewer.layers[1].visible
    assert viewer.layers[2].visible


def answer_save(monkeypatch, path: Path) -> None:
    def name(*_args: object) -> tuple[str, str]:
        return str(path), ""

    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", name)


def test_saving_lands_on_the_images_grid(
    qtbot, viewer, open_panel, oblique_scan, tmp_path, monkeypatch
):
    panel = open_panel(QUICK)
    viewer.open(str(oblique_scan), plugin="e2miseg-napari")
    predict(qtbot, panel)
    image = open_volume(oblique_scan)
    answer_save(monkeypatch, tmp_path / "labels.nii.gz")
    with qtbot.waitSignal(panel._saver.saved):
        click(qtbot, panel.result.save_labels)
    written = open_labels(tmp_path / "labels.nii.gz")
    assert written.geometry.matches(image.geometry)
    np.testing.assert_array_equal(
        written.data[0].compute(), np.asarray(viewer.layers[1].data)
    )
    assert "Labels saved" in panel.result.state.text()
    answer_save(monkeypatch, tmp_path / "errors")  # without a suffix
    with qtbot.waitSignal(panel._saver.saved):
        click(qtbot, panel.result.save_error_map)
    errors = open_volume(tmp_path / "errors.nii.gz")
    assert errors.geometry.matches(image.geometry)
    values = errors.data[0].compute()
    assert values.dtype == np.float32
    assert float(values.max()) == pytest.approx(128 / 255)


def test_a_name_the_dialog_did_not_ask_about_is_not_overwritten(
    qtbot, viewer, open_panel, tmp_path, monkeypatch
):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    mine = tmp_path / "mine.nii.gz"
    mine.write_bytes(b"precious")
    answer_save(monkeypatch, tmp_path / "mine")
    with qtbot.waitSignal(panel._saver.failed):
        click(qtbot, panel.result.save_labels)
    assert "exists" in panel.message.text.text()
    assert mine.read_bytes() == b"precious"


def test_painting_after_saving_makes_it_unsaved(
    qtbot, viewer, open_panel, tmp_path, monkeypatch
):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    assert [one.title for one in panel.controller.unsaved()] == ["tiny – phantom"]
    answer_save(monkeypatch, tmp_path / "labels.nii.gz")
    with qtbot.waitSignal(panel._saver.saved):
        click(qtbot, panel.result.save_labels)
    assert panel.controller.unsaved() == []
    viewer.layers[1].paint((3, 4, 5), 2)
    assert len(panel.controller.unsaved()) == 1


def test_taking_the_panel_away_ends_the_engine(qtbot, viewer, open_panel, children):
    before = children()
    panel = open_panel(SLOW)
    sample(viewer)
    click(qtbot, panel.button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=WAIT)
    assert len(children()) == len(before) + 1
    viewer.window.remove_dock_widget(panel)
    qtbot.waitUntil(lambda: children() <= before, timeout=10_000)
    assert len(viewer.layers) == 1


def test_closing_the_viewer_in_the_middle_leaves_nothing(
    qtbot, viewer, open_panel, children
):
    before = children()
    panel = open_panel(SLOW)
    sample(viewer)
    click(qtbot, panel.button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=WAIT)
    viewer.close()
    assert children() <= before


def test_a_reopened_panel_knows_the_results(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    viewer.window.remove_dock_widget(panel)
    gone = weakref.ref(panel)
    open_panel.forget(panel)
    del panel
    gc.collect()
    assert gone() is None  # no panel goes on listening unseen
    again = open_panel(QUICK)
    assert again.shown is not None
    assert again.shown.title == "tiny – phantom"
    guard = CloseGuard.of(viewer.window._qt_window)
    assert guard is not None
    assert again._saver is guard.saver


def test_models_are_listed_and_added(qtbot, viewer, open_panel, tiny_model, tmp_path):
    panel = open_panel(QUICK)
    copy = tmp_path / "another.safetensors"
    copy.write_bytes(tiny_model.read_bytes())
    panel.model.add(copy)
    assert panel.model.entry.name == "another"
    assert "first&nbsp;&amp;&nbsp;best" in panel.model.classes.text()
    assert "CC0-1.0" in panel.model.about.text()


def test_a_file_that_is_no_model_is_refused(qtbot, viewer, open_panel, tmp_path):
    panel = open_panel(QUICK)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"pickle")
    before = panel.model.box.count()
    panel.model.add(bad)
    assert "bad.safetensors has no safetensors header" in panel.message.text.text()
    assert panel.model.box.count() == before


def test_all_controls_are_reached_by_tab_in_reading_order(viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    stops = [panel.volume.box]
    while len(stops) < 60:
        stops.append(stops[-1].nextInFocusChain())
    wanted = [
        panel.volume.box,
        panel.volume.button,
        panel.model.box,
        panel.model.button,
        panel.options.fold.toggleButton(),
        panel.options.device,
        panel.options.mirror,
        panel.button,
        panel.result.save_labels,
        panel.result.save_error_map,
    ]
    positions = [stops.index(widget) for widget in wanted]
    assert positions == sorted(positions)


def test_options_reach_the_worker(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    panel.options.device.setCurrentIndex(panel.options.device.findData("cpu"))
    panel.options.mirror.setChecked(True)
    sent = []
    panel.controller.client.submit = sent.append
    click(qtbot, panel.button)
    (job,) = sent
    assert (job.device, job.mirror) == ("cpu", True)
    panel.controller.shutdown()


def test_geometry_of_the_results_metadata_is_the_volumes(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    predict(qtbot, panel)
    own = viewer.layers[1].metadata[KEY]
    volume = open_volume(own["image"])
    assert Geometry.from_json(own["geometry"]).matches(volume.geometry)
    assert own["image"] == image.metadata[KEY]["uri"]
