import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from e2miseg_core.io import create_store, open_volume
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.progress import run
from e2miseg_core.project import LabelStore, Project, complete_prediction
from e2miseg_napari import label_layer
from e2miseg_napari.label_layer import make_labels_layer

CLASSES = (
    LabelInfo(value=1, name="liver", color="#ff8000"),
    LabelInfo(value=3, name="tumour", color="#0000ff"),
)
SCALE = (2.0, 1.0, 1.0)


@pytest.fixture
def new_store(tmp_path, tiny_model) -> Iterator[Callable[..., LabelStore]]:
    """Make open labels of any shape; closed after the test."""
    with ExitStack() as opened:
        project = Project.create(tmp_path / "labels.e2m", model=tiny_model)
        opened.enter_context(project.lock())

        def make(shape: tuple[int, int, int], machine: int = 0) -> LabelStore:
            affine = np.diag([1.0, 1.0, 2.0, 1.0])
            file = tmp_path / f"{len(project.cases)}.nii"
            nib.save(nib.Nifti1Image(np.zeros(shape[::-1], np.uint8), affine), file)
            case = project.add_case(open_volume(file))
            store = opened.enter_context(case.open_labels())
            if machine:
                merge(store, machine)
            return store

        yield make


def merge(store: LabelStore, label: int) -> None:
    """Merge a prediction of one label."""
    case = store.case
    folder = case.new_prediction_folder()
    path = folder / "labels.ome.zarr"
    create_store(path, case.geometry, np.uint8)[:] = label
    complete_prediction(folder, version=0, figures={})
    run(store.merge(case.prediction))


def make_layer(store) -> Image:
    image = Image(np.zeros(store.levels[0].shape, np.uint8), scale=SCALE)
    return make_labels_layer(store, image, CLASSES, {"title": "ct"})


class Reference:
    """What napari itself does to an array, with a memory of every step."""

    def __init__(self, viewer, labels):
        self.plain = Labels(labels.copy(), scale=SCALE, visible=False)
        self.marker = Labels(np.zeros_like(labels), scale=SCALE, visible=False)
        viewer.add_layer(self.plain)
        viewer.add_layer(self.marker)
        self.authority = np.zeros_like(labels)
        self.past, self.future = [], []

    @property
    def labels(self):
        return self.plain.data

    def apply(self, layer, method, *arguments):
        before = (self.labels.copy(), self.authority.copy())
        *place, value = arguments
        for own in (self.plain, self.marker):
            for name in ("brush_size", "n_edit_dimensions", "contiguous"):
                setattr(own, name, getattr(layer, name))
        self.plain.preserve_labels = layer.preserve_labels
        getattr(self.plain, method)(*place, value)
        changed = self.labels != before[0]
        self.authority[changed] = 1
        if method != "fill":
            self.marker.data[:] = 0
            getattr(self.marker, method)(*place, 1)
            self.authority[(self.marker.data == 1) & (before[0] == value)] = 1
        if (self.authority != before[1]).any() or changed.any():
            self.past.append(before)
            self.future.clear()

    def step(self, source, target):
        if source:
            target.append((self.labels.copy(), self.authority.copy()))
            labels, self.authority = source.pop()
            self.plain.data[:] = labels

    def undo(self):
        self.step(self.past, self.future)

    def redo(self):
        self.step(self.future, self.past)


def look(layer, random, zoom):
    """Zoom and pan as the canvas does: a tile of some level, not at the origin."""
    shown = list(layer._slice_input.displayed)
    shape = np.take(layer.level_shapes[0], shown)
    scale = np.take(SCALE, shown)
    size = np.minimum(shape, np.maximum(shape // zoom, 12))
    start = [
        int(random.integers(0, s - n + 1)) for s, n in zip(shape, size, strict=True)
    ]
    corners = np.array([start, start + size - 1]) * scale
    threshold = int(random.choice([6, 24]))
    layer._update_draw(1.0, corners, (threshold, threshold))


def shown(layer):
    image = layer._slice.image
    return image.raw.copy(), image.view.copy()


def random_place(layer, viewer, random):
    """Somewhere in the current slice, sometimes at its edge."""
    point = layer.world_to_data(viewer.dims.point)
    place = [round(float(p)) for p in point]
    for axis in layer._slice_input.displayed:
        place[axis] = int(random.integers(0, layer.data.shape[axis]))
    return place


@pytest.mark.parametrize(
    ("shape", "n_levels"), [((37, 50, 61), 1), ((130, 70, 301), 2), ((30, 99, 601), 3)]
)
def test_any_edits_equal_napari_on_an_array_and_are_drawn(new_store, shape, n_levels):
    random = np.random.default_rng(n_levels)
    store = new_store(shape)
    layer = make_layer(store)
    viewer = ViewerModel()
    viewer.add_layer(layer)
    reference = Reference(viewer, np.asarray(layer.data))
    seen_levels = set()
    for number in range(150):
        if number % 5 == 0:
            viewer.dims.order = tuple(random.permutation(3).tolist())
            axis = viewer.dims.order[0]
            viewer.dims.set_current_step(
                axis, int(random.integers(0, layer.data.shape[axis]))
            )
            look(layer, random, int(random.integers(1, 5)))
            layer.contour = int(random.integers(0, 3))
        layer.n_edit_dimensions = int(random.choice([2, 2, 3]))
        layer.brush_size = int(random.integers(1, 16))
        layer.contiguous = bool(random.integers(2))
        layer.preserve_labels = bool(random.random() < 0.2)
        value = int(random.choice([0, 1, 3]))
        layer.selected_label = reference.plain.selected_label = value
        seen_levels.add(layer.data_level)
        operation = random.choice(
            ["paint"] * 4 + ["fill", "paint_polygon", "undo", "redo"]
        )
        if operation == "paint_polygon":
            layer.n_edit_dimensions = 2
            points = [random_place(layer, viewer, random) for _ in range(4)]
            arguments = (np.array(points), value)
        else:
            arguments = (random_place(layer, viewer, random), value)
        if operation in ("undo", "redo"):
            getattr(layer, operation)()
            getattr(reference, operation)()
        else:
            getattr(layer, operation)(*arguments)
            reference.apply(layer, operation, *arguments)
        raw, view = shown(layer)
        layer.refresh()
        fresh_raw, fresh_view = shown(layer)
        np.testing.assert_array_equal(raw, fresh_raw, f"{number} {operation}")
        np.testing.assert_array_equal(view, fresh_view, f"{number} {operation}")
        np.testing.assert_array_equal(
            np.asarray(layer.data), reference.labels, f"{number} {operation}"
        )
        np.testing.assert_array_equal(
            store.authority, reference.authority, f"{number} {operation}"
        )
    assert seen_levels == set(range(n_levels))
    assert not layer._undo_history


class Mouse:
    """Real events on a viewer's canvas, at places given in world coordinates."""

    def __init__(self, viewer, qtbot):
        self._viewer, self._qtbot = viewer, qtbot
        self._canvas = viewer.window._qt_viewer.canvas.native

    def drag(self, *places):
        self.press(places[0])
        for place in places[1:]:
            self.move(place)
        self.release(places[-1])

    def press(self, place):
        self._send(QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton)
        self._send(QEvent.Type.MouseButtonPress, place, Qt.MouseButton.LeftButton)

    def move(self, place):
        self._send(QEvent.Type.MouseMove, place, Qt.MouseButton.LeftButton)

    def release(self, place):
        self._send(QEvent.Type.MouseButtonRelease, place, Qt.MouseButton.NoButton)

    def _send(self, kind, place, buttons):
        camera = self._viewer.scene.camera
        size = self._canvas.width(), self._canvas.height()
        y, x = (
            half / 2 + (at - center) * camera.zoom
            for at, center, half in zip(
                place, camera.center[-2:], size[::-1], strict=True
            )
        )
        moved = kind == QEvent.Type.MouseMove
        button = Qt.MouseButton.NoButton if moved else Qt.MouseButton.LeftButton
        here = QPointF(x, y)
        event = QMouseEvent(
            kind,
            here,
            QPointF(self._canvas.mapToGlobal(here.toPoint())),
            button,
            buttons,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self._canvas, event)
        self._qtbot.wait(30)  # moves that follow each other faster are left out


@pytest.fixture
def window(make_napari_viewer, qtbot):
    """Viewer on the screen with the layer of a store."""

    def show(store, **settings):
        viewer = make_napari_viewer(show=True)
        layer = make_layer(store)
        viewer.add_layer(layer)
        qtbot.waitUntil(lambda: layer.loaded)
        viewer.reset_view()
        qtbot.wait(100)
        return viewer, layer

    return show


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_a_drag_of_the_mouse_is_one_step_in_every_plane(
    new_store, window, qtbot, order
):
    store = new_store((40, 50, 60))
    viewer, layer = window(store)
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 17)
    viewer.reset_view()
    qtbot.wait(100)
    layer.mode = "paint"
    layer.selected_label = 3
    layer.brush_size = 1
    first, second = (axis for axis in order[1:])
    mouse = Mouse(viewer, qtbot)
    start = [10 * SCALE[first], 12 * SCALE[second]]
    middle = [10 * SCALE[first], 30 * SCALE[second]]
    end = [20 * SCALE[first], 30 * SCALE[second]]
    mouse.drag(start, middle, end)
    expected = np.zeros((40, 50, 60), np.uint8)
    plane = np.moveaxis(expected, order, (0, 1, 2))[17]
    plane[10, 12:31] = 3
    plane[10:21, 30] = 3
    np.testing.assert_array_equal(np.asarray(layer.data), expected)
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not np.asarray(layer.data).any()
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(canvas, Qt.Key.Key_Z, both)
    np.testing.assert_array_equal(np.asarray(layer.data), expected)
    assert not layer._undo_history
    qtbot.keyClick(canvas, Qt.Key.Key_M)
    assert layer.selected_label == 3


def test_what_is_painted_zoomed_out_is_seen_at_once(new_store, window, qtbot):
    store = new_store((9, 2000, 2000))
    viewer, layer = window(store)
    assert layer.data_level > 0
    viewer.dims.set_current_step(0, 3)
    layer.mode = "paint"
    layer.selected_label = 1
    layer.brush_size = 200
    Mouse(viewer, qtbot).drag((1000, 1000))
    brush = np.asarray(layer.data[3, :, :]) == 1
    assert brush.sum() == pytest.approx(np.pi * 100**2, rel=0.02)  # full resolution
    raw, _ = shown(layer)
    step = 2**layer.data_level
    assert (raw == 1).sum() == pytest.approx(brush.sum() / step**2, rel=0.1)
    picture = viewer.screenshot(flash=False)
    assert not (picture[picture.shape[0] // 2, picture.shape[1] // 2, :3] == 0).all()


@pytest.fixture
def asynchronous(make_napari_viewer):
    settings = get_settings().experimental
    settings.async_ = True
    yield
    settings.async_ = False


def test_painting_while_a_slice_is_read_is_drawn_with_async_slicing(
    new_store, asynchronous, window, qtbot
):
    store = new_store((30, 300, 300))
    viewer, layer = window(store)
    for plane in range(5, 25):
        viewer.dims.set_current_step(0, plane)  # its slice is on the way
        with layer.block_history():
            layer.paint((plane, 100 + plane, 100), 3)
            layer.paint((plane, 100 + plane, 140), 1)
        qtbot.waitUntil(lambda: layer.loaded and not layer._stale)
        raw, view = shown(layer)
        layer.refresh()
        qtbot.waitUntil(lambda: layer.loaded)
        np.testing.assert_array_equal(raw, shown(layer)[0])
        np.testing.assert_array_equal(view, shown(layer)[1])
        assert set(np.unique(raw)) == {0, 1, 3}


def test_one_can_paint_on_what_is_seen_in_3d(new_store, window, qtbot):
    store = new_store((40, 40, 40))
    viewer, layer = window(store)
    store.write((slice(15, 25),) * 3, np.full((10, 10, 10), 1, np.uint8))
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: layer.loaded)
    layer.mode = "paint"
    layer.n_edit_dimensions = 3
    layer.brush_size = 5
    layer.selected_label = 3
    Mouse(viewer, qtbot).drag(viewer.scene.camera.center[-2:])
    painted = np.argwhere(np.asarray(layer.data) == 3)
    assert len(painted)
    assert (np.abs(painted - painted.mean(0)).max(0) <= 3).all()
    layer.undo()
    assert not (np.asarray(layer.data) == 3).any()


@pytest.fixture
def layer(new_store):
    return make_layer(new_store((20, 30, 40)))


def labels_of(layer):
    return np.asarray(layer.data)


def test_only_classes_of_the_table_can_be_chosen(layer):
    assert layer.selected_label == 1
    layer.selected_label += 1  # the key =
    assert layer.selected_label == 3
    layer.selected_label += 1
    assert layer.selected_label == 3
    layer.selected_label -= 1  # the key -
    assert layer.selected_label == 1
    layer.selected_label = 77
    assert layer.selected_label == 1
    layer.swap_selected_and_background_labels()
    assert layer.selected_label == 0


def test_a_refused_class_goes_from_the_controls_too(layer):
    told = []
    layer.events.selected_label.connect(lambda: told.append(layer.selected_label))
    layer.selected_label = 77
    assert told == [1]


def test_a_pick_takes_the_class_under_the_cursor(new_store, window, qtbot):
    store = new_store((10, 40, 40))
    viewer, layer = window(store)
    layer.paint((5, 20, 20), 3)
    viewer.dims.set_current_step(0, 5)
    layer.mode = "pick"
    Mouse(viewer, qtbot).drag((20, 20))
    assert layer.selected_label == 3
    layer.get_status((5, 20, 20), world=False)  # the status bar copes in this mode
    Mouse(viewer, qtbot).drag((2, 2))
    assert layer.selected_label == 0


def test_scattered_voxels_can_be_set_as_one_step(layer):
    places = (np.array([1, 1, 19]), np.array([2, 2, 29]), np.array([3, 4, 39]))
    layer.data_setitem(places, [1, 3, 3])
    assert [labels_of(layer)[place] for place in zip(*places, strict=True)] == [1, 3, 3]
    assert (labels_of(layer) > 0).sum() == 3
    layer.data_setitem((1, 2, np.array([3, 4])), 0)
    assert (labels_of(layer) > 0).sum() == 1
    layer.undo()
    layer.undo()
    assert not labels_of(layer).any()


def test_a_stroke_given_up_leaves_nothing(layer):
    layer.paint((5, 5, 5), 1)
    before = labels_of(layer)
    layer._begin_stroke()
    layer.paint((9, 9, 9), 3)
    layer.paint((5, 5, 5), 0)
    layer._abort_stroke()
    np.testing.assert_array_equal(labels_of(layer), before)
    layer.undo()
    assert not labels_of(layer).any()


def test_a_stroke_ends_where_the_tool_changes(layer):
    layer._begin_stroke()
    layer.paint((9, 9, 9), 3)
    layer.undo()  # not in the middle of a stroke
    assert labels_of(layer).any()
    layer.mode = "erase"
    layer.undo()
    assert not labels_of(layer).any()


def test_voxels_painted_with_the_label_they_had_count_as_seen(new_store):
    store = new_store((20, 30, 40), machine=1)
    layer = make_layer(store)
    layer.brush_size = 1
    layer.paint((5, 6, 7), 1)
    assert np.asarray(store.authority).sum() == store.authority[5, 6, 7] == 1
    layer.preserve_labels = True
    layer.paint((5, 6, 8), 3)  # kept as it was, so nobody has judged it
    assert store.authority[5, 6, 8] == 0
    assert labels_of(layer)[5, 6, 8] == 1


@pytest.mark.parametrize("value", [0, 1, 3])
@pytest.mark.parametrize("method", ["paint", "fill", "paint_polygon", "data_setitem"])
def test_painting_while_a_prediction_is_merged_freezes_no_neighbour(
    new_store, monkeypatch, method, value
):
    store = new_store((9, 30, 40), machine=1)
    store.paint(((5, 6), (10, 20), (10, 11)), np.ones((1, 10, 1), bool), 0)
    store.paint(((5, 6), (10, 11), (10, 20)), np.ones((1, 1, 10), bool), 0)
    before = np.asarray(store.levels[0])
    layer, authority = make_layer(store), np.asarray(store.authority)
    layer.brush_size = 9
    arguments = {
        "paint": ((5, 13, 13), value),
        "fill": ((5, 10, 10), value),
        "paint_polygon": ([(5, 8, 8), (5, 25, 12), (5, 12, 30)], value),
        "data_setitem": (([5, 5, 5], [8, 12, 20], [9, 30, 11]), value),
    }[method]
    marks = Labels(np.full_like(before, 9) if method != "fill" else before.copy())
    marks.brush_size = 9
    if method == "data_setitem":
        arguments = (tuple(map(np.array, arguments[0])), value)
    getattr(marks, method)(*arguments)
    painted = marks.data == value if method != "fill" else marks.data != before
    load = store._arrays.load

    def merge_first(box):
        monkeypatch.setattr(store._arrays, "load", load)
        merge(store, 3)
        load(box)

    monkeypatch.setattr(store._arrays, "load", merge_first)
    getattr(layer, method)(*arguments)
    if store._arrays.load is merge_first:  # a fill with the label that is there
        merge_first(((0, 1),) * 3)
    human = painted | (authority > 0)
    expected = np.where(authority > 0, before, 3)
    expected[painted] = value
    np.testing.assert_array_equal(labels_of(layer), expected)
    np.testing.assert_array_equal(np.asarray(store.authority) > 0, human)


def test_a_fill_that_no_memory_could_hold_is_refused_in_words(layer, monkeypatch):
    monkeypatch.setattr(label_layer, "_LARGEST_FILL", 1000)
    before = len(notification_manager.records)
    layer.fill((5, 5, 5), 1)
    (told,) = notification_manager.records[before:]
    assert "needed: fewer than 1,000" in told.message
    assert not labels_of(layer).any()


def test_after_release_nothing_can_be_painted(layer):
    layer._begin_stroke()
    layer.paint((5, 5, 5), 1)
    layer.release()
    assert not layer.editable
    assert layer.mode == "pan_zoom"
    layer.paint((9, 9, 9), 1)
    layer.undo()
    assert labels_of(layer)[9, 9, 9] == 0
    assert labels_of(layer)[5, 5, 5] == 1


def test_the_labels_cannot_be_exchanged(layer):
    with pytest.raises(ValueError, match="needed: edits"):
        layer.data = np.zeros((20, 30, 40), np.uint8)


def test_a_napari_without_the_hooks_is_named(new_store, monkeypatch):
    monkeypatch.delattr(Labels, "_partial_labels_refresh")
    with pytest.raises(ValueError, match=r"lacks _partial_labels_refresh; needed: nap"):
        make_layer(new_store((4, 4, 4)))


def test_other_programs_see_an_ordinary_pyramid_of_labels(layer):
    layer.paint((9, 9, 9), 3)
    data, options, kind = layer.as_layer_data_tuple()
    assert kind == "labels"
    assert options["multiscale"]
    assert data[0].shape == (20, 30, 40)
    assert np.asarray(data).shape == (20, 30, 40)
    assert data[9, 9, 9] == 3
    twin = Labels(copy.deepcopy(data), multiscale=True)
    assert not twin.editable
