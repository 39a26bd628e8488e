"""The real widget in a real viewer, driven against a worker whose answer is known."""

import gc
import sys
import threading
import weakref
from pathlib import Path

import napari
import nibabel as nib
import numpy as np
import pytest
from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent

from e2miseg_core.errors import WriteError
from e2miseg_core.io import create_store, open_labels, open_volume
from e2miseg_core.models import add_model, models_folder
from e2miseg_core.project import Case, LabelStore, Project
from e2miseg_napari import dialogs, project_places
from e2miseg_napari.close_guard import CloseGuard
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.panels.guide import Step
from e2miseg_napari.panels.main import MainPanel
from e2miseg_napari.predicting import Phase
from e2miseg_napari.writers import write_labels_layer

WORKER = Path(__file__).with_name("phantom_worker.py")
THRESHOLDS = (60.0, 90.0)  # as the worker's
QUICK, SLOW = "0.01", "0.25"  # seconds a block
HOLD = "8"  # blocks, of 24, after which the worker waits to be cancelled
WAIT = 60_000


@pytest.fixture(autouse=True)
def models(tiny_model, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    monkeypatch.setenv("HOME", str(folder))  # where projects of samples go
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

    def make(*pause: str) -> MainPanel:
        client = EngineClient([sys.executable, "-u", str(WORKER), *pause])
        panel = MainPanel(viewer, client)
        viewer.window.add_dock_widget(panel, name="E2MISeg")
        panel.attach()
        panel.predict.model.choose("tiny")
        panels.append(panel)
        return panel

    make.forget = panels.remove
    yield make
    for panel in panels:
        panel.shutdown(at_once=True)
    qtbot.waitUntil(lambda: children() <= before, timeout=10_000)


def click(qtbot, button) -> None:
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_for_phase(qtbot, panel, phase) -> None:
    qtbot.waitUntil(lambda: panel.predicting.state.phase == phase, timeout=WAIT)


def begin(qtbot, panel, layers: int) -> None:
    """Press Predict and wait until the growing result is on show."""
    click(qtbot, panel.predict.button)
    viewer = panel._viewer
    qtbot.waitUntil(lambda: len(viewer.layers) >= layers, timeout=WAIT)


def predict(qtbot, panel) -> None:
    click(qtbot, panel.predict.button)
    wait_for_phase(qtbot, panel, Phase.IDLE)


def labels_of(panel) -> np.ndarray:
    return np.asarray(panel.session.store.levels[0][:, :, :])


def raw(layer) -> np.ndarray:
    """What the canvas shows of a layer."""
    return np.asarray(layer._slice.image.raw)


def expected_labels(image: np.ndarray) -> np.ndarray:
    return np.digitize(image, np.percentile(image, THRESHOLDS)).astype(np.uint8)


def sample(viewer):
    (layer,) = viewer.open_sample("e2miseg-napari", "phantom")
    return layer


def test_without_a_volume_nothing_can_be_predicted(open_panel):
    panel = open_panel(QUICK)
    assert not panel.predict.button.isEnabled()
    assert panel.predict.button.toolTip() == "Open a volume first"
    assert panel.guide.text().startswith("Open a volume")


def test_open_sample_predict_and_look(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    assert panel.predict.volume.choice.layer is image
    assert "64 × 112 × 96 voxels" in panel.predict.volume.facts.text()
    predict(qtbot, panel)
    labels, error_map = panel.session.labels_layer, panel.session.error_layer
    assert set(viewer.layers) >= {image, labels, error_map}
    expected = expected_labels(np.asarray(image.data))
    np.testing.assert_array_equal(labels_of(panel), expected)
    np.testing.assert_array_equal(
        np.asarray(error_map.data), np.where(expected == 1, 128, 0)
    )
    for layer in (labels, error_map):
        np.testing.assert_array_equal(layer.scale, image.scale)
        np.testing.assert_array_equal(layer.translate, image.translate)
        assert layer.units == image.units
    assert labels.editable
    assert viewer.layers.selection.active is labels
    assert panel.message.text.text().startswith("Done in")
    shown = np.asarray(labels._slice.image.raw)
    z = int(viewer.dims.current_step[0])
    np.testing.assert_array_equal(shown, expected[z])


def test_the_result_is_a_project_on_disk(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    predict(qtbot, panel)
    path = project_places.projects_root() / "phantom.e2m"
    assert panel.session.project.path == path
    assert panel.project.facts.text().startswith("phantom.e2m")
    panel.session.close()
    assert panel.session.project is None
    project = Project.open(path)
    (name,) = project.cases
    stored = open_volume(project.case(name).labels_path)
    np.testing.assert_array_equal(
        stored.data[0].compute(), expected_labels(np.asarray(image.data))
    )


def test_the_next_step_is_told(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    assert panel.guide.text() == Step.PREDICT
    told = set()

    def note(state):
        if state.phase != Phase.IDLE:
            told.add(panel.guide.text())

    panel.predicting.changed.connect(note)
    predict(qtbot, panel)
    assert told == {Step.WAIT}  # there is nothing to review yet
    assert panel.guide.text() == Step.REVIEW
    assert panel.tabs.currentIndex() == 1  # the list of edges is what comes next
    panel.show_tab(panel.predict)
    told.clear()
    predict(qtbot, panel)
    assert told == {Step.GO_ON}
    assert panel.guide.text() == Step.REVIEW


def test_after_closing_a_project_both_ways_on_are_told(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    viewer.open_sample("e2miseg-napari", "phantom")  # the case's own layer goes
    panel.session.leave()
    button = panel.project._continue
    qtbot.waitUntil(lambda: button.isVisibleTo(panel), timeout=WAIT)
    assert panel.guide.text() == Step.CONTINUE
    values = np.zeros((40, 40, 40), np.float32)
    viewer.add_image(values, name="another")
    assert panel.guide.text() == Step.PREDICT
    assert not button.isVisibleTo(panel)
    assert "None yet" in panel.project.facts.text()


def test_the_guide_reads_nothing_from_the_disk(qtbot, viewer, open_panel, monkeypatch):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)

    def refused(_case):
        raise AssertionError

    for name in ("description", "predictions"):
        monkeypatch.setattr(Case, name, refused)
    panel.guide.setText("")
    panel.reviewing.next()
    assert panel.guide.text() == Step.REVIEW
    monkeypatch.undo()


def test_what_is_said_of_the_prediction_goes_with_the_first_edge(
    qtbot, viewer, open_panel
):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    assert panel.message.text.text().startswith("Done in")
    assert panel.message.isVisibleTo(panel)
    panel.reviewing.next()
    assert not panel.message.isVisibleTo(panel)
    panel.message.show_notice("Saved labels")
    panel.reviewing.next()
    assert panel.message.isVisibleTo(panel)


def test_the_legend_names_classes_with_their_volumes(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    result = panel.predict.result
    assert not result.isVisibleTo(panel.predict)
    predict(qtbot, panel)
    grid = result.legend._grid
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
    assert result.isVisibleTo(panel.predict)


def test_progress_is_told_while_blocks_appear(qtbot, viewer, open_panel):
    panel = open_panel(SLOW, HOLD)
    image = sample(viewer)
    viewer.dims.set_current_step(0, 5)  # the first blocks
    lines, steps = [], []
    panel.predicting.changed.connect(lambda state: lines.append(state.line))
    panel.predicting.changed.connect(lambda state: steps.append(state.done))
    click(qtbot, panel.predict.button)
    assert panel.predict.button.text() == "Cancel"
    assert not panel.predict.volume.isEnabled()
    qtbot.waitUntil(lambda: panel.predicting.state.done == 8, timeout=WAIT)
    assert panel.predict.progress.isVisibleTo(panel.predict)
    viewer.add_image(np.zeros((9, 9, 9)), name="another", units=image.units)
    assert panel.predict.progress_line.text().startswith("phantom: tile ")
    assert any(line.startswith("tile 3 of 24, about") for line in lines)
    assert steps == sorted(steps)
    click(qtbot, panel.predict.button)
    wait_for_phase(qtbot, panel, Phase.IDLE)


def test_a_first_prediction_is_drawn_as_it_grows_but_is_no_data_yet(
    qtbot, viewer, open_panel, tmp_path
):
    panel = open_panel(QUICK, HOLD)
    image = sample(viewer)
    viewer.dims.set_current_step(0, 5)  # the first blocks
    click(qtbot, panel.predict.button)
    qtbot.waitUntil(lambda: panel.predicting.state.done == 8, timeout=WAIT)
    labels, errors = panel.session.labels_layer, panel.session.error_layer
    assert list(viewer.layers) == [image, labels, errors]  # others would stall it
    qtbot.waitUntil(lambda: raw(labels).any() and raw(errors).any(), timeout=WAIT)
    found = expected_labels(np.asarray(image.data))[5]
    done = slice(0, 32)  # the first row of blocks
    np.testing.assert_array_equal(raw(labels)[done, done], found[done, done])
    assert not np.asarray(labels.data).any()
    data, attributes, _ = labels.as_layer_data_tuple()
    write_labels_layer(str(tmp_path / "a.nii.gz"), data, attributes)
    assert not np.asarray(open_labels(tmp_path / "a.nii.gz").data).any()
    labels.preserve_labels = False
    labels.fill((5, 1, 2), 2)  # by what? It says so, and does nothing
    assert not np.asarray(panel.session.store.authority[5]).any()
    labels.brush_size = 1
    at = tuple(np.argwhere(found[done, done] != 2)[0])
    labels.paint((5, *at), 2)  # painting goes on beside it
    assert raw(labels)[at] == labels.data[(5, *at)] == 2
    click(qtbot, panel.predict.button)
    wait_for_phase(qtbot, panel, Phase.IDLE)
    assert np.flatnonzero(raw(labels)).tolist() == [
        np.ravel_multi_index(at, found.shape)
    ]
    assert not errors.visible


def test_a_later_prediction_is_shown_when_it_is_complete(qtbot, viewer, open_panel):
    """Until then verdicts are about the labels and edges on show."""
    panel = open_panel(QUICK, "24")  # there are no more blocks
    sample(viewer)
    predict(qtbot, panel)
    previews = []
    panel.predicting.changed.connect(
        lambda _: previews.append(panel.session.labels_layer.preview)
    )
    predict(qtbot, panel)
    assert len(previews) > 24
    assert set(previews) == {None}


def test_cancel_then_predict_again(qtbot, viewer, open_panel):
    panel = open_panel(SLOW)
    image = sample(viewer)
    click(qtbot, panel.predict.button)
    qtbot.waitUntil(lambda: panel.predicting.state.done >= 1, timeout=WAIT)
    click(qtbot, panel.predict.button)
    assert not panel.predict.button.isEnabled()
    wait_for_phase(qtbot, panel, Phase.IDLE)
    assert not labels_of(panel).any()
    assert not np.asarray(panel.session.labels_layer._slice.image.raw).any()
    assert panel.session.case.predictions() == []
    assert panel.predict.button.text() == "Predict"
    assert "incomplete result was removed" in panel.message.text.text()
    predict(qtbot, panel)
    np.testing.assert_array_equal(
        labels_of(panel), expected_labels(np.asarray(image.data))
    )


def test_an_array_from_anywhere_can_be_predicted(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    values = np.random.default_rng(0).normal(0, 1, (40, 70, 50)).astype(np.float32)
    image = viewer.add_image(values, scale=(3, 1, 1), translate=(5, 0, -4), name="mine")
    assert "not from a file" in panel.predict.volume.remarks.text()
    predict(qtbot, panel)
    np.testing.assert_array_equal(labels_of(panel), expected_labels(values))
    np.testing.assert_array_equal(panel.session.labels_layer.translate, image.translate)


def test_it_works_with_async_slicing(qtbot, viewer, open_panel):
    get_settings().experimental.async_ = True
    panel = open_panel(QUICK)
    image = sample(viewer)
    predict(qtbot, panel)
    labels = panel.session.labels_layer
    qtbot.waitUntil(lambda: labels.loaded, timeout=WAIT)
    expected = expected_labels(np.asarray(image.data))
    np.testing.assert_array_equal(labels_of(panel), expected)
    z = int(viewer.dims.current_step[0])
    qtbot.waitUntil(
        lambda: np.array_equal(np.asarray(labels._slice.image.raw), expected[z]),
        timeout=WAIT,
    )


def test_what_somebody_painted_outlives_a_second_prediction(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    predict(qtbot, panel)
    expected = expected_labels(np.asarray(image.data))
    labels = panel.session.labels_layer
    labels.brush_size = 3
    value = 2 if expected[3, 4, 5] != 2 else 1
    labels.paint((3, 4, 5), value)
    painted = labels_of(panel)
    assert painted[3, 4, 5] == value
    panel.show_tab(panel.predict)
    predict(qtbot, panel)
    np.testing.assert_array_equal(labels_of(panel), painted)
    assert panel.session.case.prediction.number == 2
    assert panel.session.labels_layer is labels  # the layer stays, with its settings


def test_work_is_found_again_after_reopening(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    panel.session.labels_layer.paint((3, 4, 5), 2)
    mine = labels_of(panel)
    path = panel.session.project.path
    panel.session.close()
    viewer.layers.clear()
    panel.project.open_asked.emit(path)
    qtbot.waitUntil(lambda: panel.session.labels_layer is not None, timeout=WAIT)
    np.testing.assert_array_equal(labels_of(panel), mine)
    assert panel.session.image_layer in viewer.layers
    assert panel.reviewing.entries
    assert "of phantom.e2m" in panel.predict.model.version.text()


def test_predict_goes_on_with_the_images_own_project(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    image = sample(viewer)
    predict(qtbot, panel)
    panel.session.labels_layer.paint((3, 4, 5), 2)
    mine = labels_of(panel)
    panel.session.close()
    panel.predict.volume.choose(image)
    panel._on_chosen()
    known = "phantom.e2m holds this image"
    qtbot.waitUntil(lambda: known in panel.project.facts.text(), timeout=WAIT)
    panel.show_tab(panel.predict)
    predict(qtbot, panel)
    np.testing.assert_array_equal(labels_of(panel), mine)
    assert panel.session.project.path.name == "phantom.e2m"


def test_a_rotated_layer_is_refused_before_anything_starts(viewer, open_panel):
    panel = open_panel(QUICK)
    with pytest.warns(UserWarning, match="Non-orthogonal"):
        viewer.add_image(np.zeros((9, 9, 9)), rotate=(30, 0, 0))
    assert not panel.predict.button.isEnabled()
    assert "rotated or sheared" in panel.predict.button.toolTip()


def test_a_volume_with_other_channels_is_refused(viewer, open_panel, tmp_path):
    panel = open_panel(QUICK)
    path = tmp_path / "two.nii"
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9, 2), np.float32), np.eye(4)), path)
    viewer.open(str(path), plugin="e2miseg-napari")
    assert panel.predict.volume.box.count() == 1  # one volume, two layers
    assert panel.predict.volume.choice.title == "two"
    assert not panel.predict.button.isEnabled()
    assert "2 channels; needed: 1" in panel.predict.model.doubt.text()
    assert panel.guide.text() == Step.UNFIT


def test_a_volume_opens_from_the_panel(qtbot, viewer, open_panel, oblique_scan):
    panel = open_panel(QUICK)
    panel.predict.volume.open_asked.emit(str(oblique_scan))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=WAIT)
    assert panel.predict.volume.choice.title == "scan"
    assert "oblique scan" in panel.predict.volume.remarks.text()


def test_a_damaged_file_is_one_line_in_the_panel(qtbot, viewer, open_panel, tmp_path):
    panel = open_panel(QUICK)
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(b"no nifti")
    panel.predict.volume.open_asked.emit(str(path))
    text = panel.message.text.text
    qtbot.waitUntil(lambda: "needed" in text(), timeout=WAIT)
    assert "bad.nii.gz" in text()
    assert "\n" not in text()
    assert not panel.message.details.isVisibleTo(panel)


def test_an_image_that_has_gone_is_one_line(qtbot, viewer, open_panel, oblique_scan):
    panel = open_panel(QUICK)
    viewer.open(str(oblique_scan), plugin="e2miseg-napari")
    oblique_scan.unlink()
    predict(qtbot, panel)
    text = panel.message.text.text()
    assert "scan.nii.gz" in text
    assert "needed" in text
    assert panel.predict.button.isEnabled()


def test_a_dying_worker_leaves_a_usable_panel(qtbot, viewer, open_panel):
    panel = open_panel(SLOW)
    sample(viewer)
    click(qtbot, panel.predict.button)
    qtbot.waitUntil(lambda: panel.predicting.state.done >= 1, timeout=WAIT)
    panel.client._worker.kill()
    wait_for_phase(qtbot, panel, Phase.IDLE)
    assert not labels_of(panel).any()
    assert not np.asarray(panel.session.error_layer.data).any()
    assert "engine stopped unexpectedly" in panel.message.text.text()
    predict(qtbot, panel)
    assert labels_of(panel).any()


def test_what_was_removed_by_hand_comes_back_by_a_button(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    again = panel.project.again
    assert not again.isVisibleTo(panel)
    viewer.layers.remove(panel.session.image_layer)
    assert panel.guide.text() == Step.IMAGE_REMOVED
    assert again.isVisibleTo(panel)
    click(qtbot, again)
    assert panel.session.image_layer in viewer.layers
    assert not again.isVisibleTo(panel)
    assert panel.guide.text() == Step.REVIEW
    viewer.layers.remove(panel.session.labels_layer)
    assert panel.guide.text() == Step.LABELS_REMOVED
    assert panel.review.state.text().startswith("The labels of this case were removed")
    click(qtbot, again)
    qtbot.waitUntil(lambda: panel.session.labels_layer is not None, timeout=WAIT)
    assert not again.isVisibleTo(panel)
    assert panel.guide.text() == Step.REVIEW


def test_another_volume_after_clearing_the_layers_is_what_comes_next(
    qtbot, viewer, open_panel, oblique_scan
):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    qtbot.waitUntil(lambda: panel.session.labels_layer is not None, timeout=WAIT)
    panel.show_tab(panel.review)
    viewer.layers.clear()
    qtbot.waitUntil(lambda: panel.session.taken_away == "labels", timeout=WAIT)
    assert panel.guide.text().startswith("The labels were removed")
    panel.predict.volume.open_asked.emit(str(oblique_scan))
    qtbot.waitUntil(lambda: not panel._opening.busy, timeout=WAIT)
    assert panel.tabs.currentIndex() == 0
    assert "40 × 30 × 50 voxels" in panel.predict.volume.facts.text()
    assert panel.guide.text() == Step.PREDICT.value
    assert panel.project.again.isVisibleTo(panel.project)  # the way back is left


def test_removing_the_image_cancels(qtbot, viewer, open_panel):
    panel = open_panel(SLOW)
    image = sample(viewer)
    click(qtbot, panel.predict.button)
    qtbot.waitUntil(lambda: panel.predicting.state.done >= 1, timeout=WAIT)
    viewer.layers.remove(image)
    wait_for_phase(qtbot, panel, Phase.IDLE)
    assert panel.session.labels_layer.preview is None
    assert panel.session.error_layer.data.preview is None


def test_what_was_painted_stays_after_a_failed_prediction(qtbot, viewer, open_panel):
    panel = open_panel(SLOW)
    sample(viewer)
    predict(qtbot, panel)
    before = labels_of(panel)
    panel.show_tab(panel.predict)
    click(qtbot, panel.predict.button)
    qtbot.waitUntil(lambda: panel.predicting.state.done >= 1, timeout=WAIT)
    click(qtbot, panel.predict.button)
    wait_for_phase(qtbot, panel, Phase.IDLE)
    np.testing.assert_array_equal(labels_of(panel), before)
    assert panel.session.labels_layer.visible


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
    assert panel.session.project.path == oblique_scan.with_name("scan.e2m")
    panel.session.labels_layer.paint((3, 4, 5), 2)
    image = open_volume(oblique_scan)
    answer_save(monkeypatch, tmp_path / "labels.nii.gz")
    panel.show_tab(panel.predict)
    with qtbot.waitSignal(panel._saver.saved):
        click(qtbot, panel.predict.result.save_labels)
    written = open_labels(tmp_path / "labels.nii.gz")
    assert written.geometry.matches(image.geometry)
    np.testing.assert_array_equal(written.data[0].compute(), labels_of(panel))
    answer_save(monkeypatch, tmp_path / "errors")  # without a suffix
    with qtbot.waitSignal(panel._saver.saved):
        click(qtbot, panel.predict.result.save_error_map)
    errors = open_volume(tmp_path / "errors.nii.gz")
    assert errors.geometry.matches(image.geometry)
    values = errors.data[0].compute()
    assert values.dtype == np.float32
    assert float(values.max()) == pytest.approx(128 / 255)


def test_an_edge_map_is_saved_where_the_model_has_told_one(
    qtbot, viewer, open_panel, oblique_scan, tmp_path, monkeypatch
):
    panel = open_panel(QUICK)
    viewer.open(str(oblique_scan), plugin="e2miseg-napari")
    predict(qtbot, panel)
    panel.show_tab(panel.predict)
    button, case = panel.predict.result.save_edge_map, panel.session.case
    assert not button.isVisible()
    store = case.merged.folder / "edge_map.ome.zarr"
    create_store(store, case.geometry, np.uint8)[2:4] = 51
    panel.predict.result.show_case(case)
    answer_save(monkeypatch, tmp_path / "edges.nii.gz")
    with qtbot.waitSignal(panel._saver.saved):
        click(qtbot, button)
    edges = open_volume(tmp_path / "edges.nii.gz")
    assert edges.geometry.matches(open_volume(oblique_scan).geometry)
    values = edges.data[0].compute()
    assert values.dtype == np.float32
    assert values[2:4] == pytest.approx(0.2)
    assert values.sum() == pytest.approx(values[2:4].sum())


def test_a_name_the_dialog_did_not_ask_about_is_not_overwritten(
    qtbot, viewer, open_panel, tmp_path, monkeypatch
):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    mine = tmp_path / "mine.nii.gz"
    mine.write_bytes(b"precious")
    answer_save(monkeypatch, tmp_path / "mine")
    panel.show_tab(panel.predict)
    with qtbot.waitSignal(panel._saver.failed):
        click(qtbot, panel.predict.result.save_labels)
    assert "exists" in panel.message.text.text()
    assert mine.read_bytes() == b"precious"


def test_taking_the_panel_away_ends_the_engine(qtbot, viewer, open_panel, children):
    before = children()
    panel = open_panel(SLOW)
    sample(viewer)
    click(qtbot, panel.predict.button)
    qtbot.waitUntil(lambda: panel.predicting.state.done >= 1, timeout=WAIT)
    assert len(children()) == len(before) + 1
    viewer.window.remove_dock_widget(panel)
    qtbot.waitUntil(lambda: children() <= before, timeout=10_000)
    assert panel.session.project is None


def test_closing_the_viewer_in_the_middle_leaves_nothing(
    qtbot, viewer, open_panel, children
):
    before = children()
    panel = open_panel(SLOW)
    sample(viewer)
    click(qtbot, panel.predict.button)
    qtbot.waitUntil(lambda: panel.predicting.state.done >= 1, timeout=WAIT)
    path = panel.session.project.path
    viewer.close()
    assert children() <= before
    with Project.open(path).lock():
        pass  # nobody holds it any more


def test_a_panel_taken_away_is_forgotten(qtbot, viewer, open_panel):
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
    guard = CloseGuard.of(viewer.window._qt_window)
    assert guard is not None
    assert again._saver is guard.saver


def test_a_panel_docked_again_works_and_lets_go_again(
    qtbot, viewer, open_panel, children
):
    before = children()
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    path = panel.session.project.path
    viewer.window.remove_dock_widget(panel)
    assert panel.session.project is None
    viewer.window.add_dock_widget(panel, name="E2MISeg")
    panel.showEvent(QShowEvent())  # the window of a test is hidden
    panel.session.open(path)
    qtbot.waitUntil(lambda: panel.session.store is not None, timeout=WAIT)
    panel.reviewing.next()
    assert viewer.scene.overlays["e2miseg_edge"].visible
    viewer.window.remove_dock_widget(panel)
    assert panel.session.project is None
    assert "e2miseg_edge" not in viewer.scene.overlays
    with Project.open(path).lock():
        pass  # nobody holds it any more
    qtbot.waitUntil(lambda: children() <= before, timeout=10_000)


def test_edits_that_cannot_be_saved_are_asked_about_whatever_is_closed(
    qtbot, viewer, open_panel, monkeypatch
):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    guard = CloseGuard.of(viewer.window._qt_window)
    full, flush = [True], LabelStore.flush

    def refused(store):
        if full:
            raise WriteError(found="no room", needed="some", do="free space")
        flush(store)

    def told() -> str:
        return "".join(trouble() for trouble in guard.troubles)

    assert told() == ""
    monkeypatch.setattr(LabelStore, "flush", refused)
    panel.session.labels_layer.paint((3, 4, 5), 2)
    assert "no room" in told()
    viewer.layers.remove(panel.session.labels_layer)
    assert "no room" in told()
    viewer.window.remove_dock_widget(panel)
    assert "no room" in told()
    full.clear()
    assert told() == ""


def test_an_image_that_has_moved_is_found_again_by_a_button(
    qtbot, viewer, open_panel, oblique_scan, monkeypatch
):
    panel = open_panel(QUICK)
    path = oblique_scan.with_name("study.e2m")
    Project.create(path, model="tiny").add_case(open_volume(oblique_scan))
    moved = oblique_scan.with_name("moved.nii.gz")
    oblique_scan.rename(moved)
    panel.session.open(path)
    qtbot.waitUntil(lambda: panel.session.project is not None, timeout=WAIT)
    button = panel.project.where
    assert button.isVisibleTo(panel)
    assert "scan.nii.gz is not where it was" in panel.project.facts.text()
    asked = []

    def choose(*words: str) -> tuple[str, str]:
        asked.append(words[1])
        return str(moved), ""

    monkeypatch.setattr(dialogs.QFileDialog, "getOpenFileName", choose)
    click(qtbot, button)
    qtbot.waitUntil(lambda: panel.session.store is not None, timeout=WAIT)
    assert asked == ["Where is scan.nii.gz now?"]
    assert not button.isVisibleTo(panel)


def test_a_folder_that_has_moved_is_asked_for_as_a_folder(qtbot, monkeypatch):
    def choose(_parent: object, title: str) -> str:
        return title

    monkeypatch.setattr(dialogs.QFileDialog, "getExistingDirectory", choose)
    title = dialogs.ask_moved_image(None, "/away/heart.ome.zarr")
    assert title == "Where is heart.ome.zarr now?"


def test_a_project_damaged_while_it_is_open_is_one_line(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    (panel.session.project.path / "project.json").write_text("{")
    told = []
    for section in (panel.project, panel.predict.model):
        section.problem.connect(lambda problem: told.append(problem.line))
    panel.project.show_project(panel.session.project, "phantom")
    panel.predict.model.show_project(panel.session.project)
    assert len(told) == 2
    assert all("project.json" in line for line in told)
    (panel.session.case.folder / "case.json").write_text("{")
    panel.predict.result.show_case(panel.session.case)
    assert "case.json" in panel.message.text.text()


def test_another_version_is_chosen_in_a_thread(qtbot, viewer, open_panel, monkeypatch):
    panel = open_panel(QUICK)
    sample(viewer)
    predict(qtbot, panel)
    use, threads = Project.use_version, []

    def noted(project, number):
        threads.append(threading.current_thread())
        return use(project, number)

    monkeypatch.setattr(Project, "use_version", noted)
    with qtbot.waitSignal(panel.finetuning.versions_changed, timeout=WAIT):
        panel.finetuning.use_version(0)
    assert threading.main_thread() not in threads
    with qtbot.waitSignal(panel.finetuning.problem, timeout=WAIT) as told:
        panel.finetuning.use_version(7)
    assert "no model version 7" in told.args[0].line


def test_models_are_listed_and_added(qtbot, viewer, open_panel, tiny_model, tmp_path):
    panel = open_panel(QUICK)
    copy = tmp_path / "another.safetensors"
    copy.write_bytes(tiny_model.read_bytes())
    model = panel.predict.model
    model.add(copy)
    assert model.entry.name == "another"
    assert "first&nbsp;&amp;&nbsp;best" in model.classes.text()
    assert "CC0-1.0" in model.about.text()


def test_a_file_that_is_no_model_is_refused(qtbot, viewer, open_panel, tmp_path):
    panel = open_panel(QUICK)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"pickle")
    before = panel.predict.model.box.count()
    panel.predict.model.add(bad)
    assert "bad.safetensors has no safetensors header" in panel.message.text.text()
    assert panel.predict.model.box.count() == before


def test_all_controls_are_reached_by_tab_in_reading_order(viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    tab = panel.predict
    stops = [tab.volume.box]
    while len(stops) < 100:
        stops.append(stops[-1].nextInFocusChain())
    wanted = [
        tab.volume.box,
        tab.volume.button,
        tab.model.box,
        tab.model.button,
        tab.options.fold.toggleButton(),
        tab.options.device,
        tab.options.mirror,
        tab.button,
        tab.result.save_labels,
        tab.result.save_error_map,
        tab.result.save_edge_map,
    ]
    positions = [stops.index(widget) for widget in wanted]
    assert positions == sorted(positions)


def test_options_reach_the_worker(qtbot, viewer, open_panel):
    panel = open_panel(QUICK)
    sample(viewer)
    options = panel.predict.options
    options.device.setCurrentIndex(options.device.findData("cpu"))
    options.mirror.setChecked(True)
    sent = []
    panel.client.submit = sent.append
    click(qtbot, panel.predict.button)
    qtbot.waitUntil(lambda: bool(sent), timeout=WAIT)
    (job,) = sent
    assert (job.device, job.mirror) == ("cpu", True)
