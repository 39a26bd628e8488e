"""The review in a real viewer: real project, real keys, real mouse."""

import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import napari
import numpy as np
import pytest
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit

from e2miseg_core.boxes import box_slices
from e2miseg_core.io import create_store, open_volume
from e2miseg_core.model_card import LabelInfo
from e2miseg_core.project import (
    ACCEPTED,
    HUMAN,
    MACHINE,
    Case,
    Edge,
    EdgeList,
    Project,
    ReviewLog,
    complete_prediction,
    write_edges,
)
from e2miseg_core.project.journal import Journal
from e2miseg_napari import review_polygon, review_tools
from e2miseg_napari.edge_outline import world_bounds
from e2miseg_napari.edge_search import EdgeSearch
from e2miseg_napari.edge_visit import EdgeVisit
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.panels.review import ReviewTab
from e2miseg_napari.project_session import ProjectSession
from e2miseg_napari.review import Review
from e2miseg_napari.review_list import Stage

DOCS = Path(__file__).parents[2] / "docs"
WAIT = 20_000
SIZE = (4, 9, 9)
CORNERS = [(2, 4, 5), (20, 15, 10), (30, 8, 3), (10, 24, 33), (34, 2, 38), (16, 5, 2)]


@dataclass
class Window:
    """What a test drives."""

    viewer: napari.Viewer
    session: ProjectSession
    review: Review
    tab: ReviewTab

    @property
    def labels(self):
        return self.session.labels_layer

    @property
    def canvas(self):
        return self.viewer.window._qt_viewer.canvas.native


@pytest.fixture
def image(oblique_scan):
    return open_volume(oblique_scan)


@pytest.fixture
def project(tiny_model, tmp_path):
    return Project.create(tmp_path / "study.e2m", model=tiny_model)


@pytest.fixture
def case(project, image):
    return project.add_case(image)


def made_up_edges(shape, count: int = len(CORNERS)) -> EdgeList:
    edges = []
    for number, corner in enumerate(CORNERS[:count], start=1):
        box = tuple(
            (low, min(low + n, size))
            for low, n, size in zip(corner, SIZE, shape, strict=True)
        )
        centre = tuple((low + high) // 2 for low, high in box)
        edges.append(
            Edge(
                number=number,
                box=box,
                centre=centre,
                expected_wrong=60.0 / number,
                gain=0.03 / number,
                classes=(0, 1) if number % 2 else (0, 1, 2),
            )
        )
    total = 2 * sum(one.expected_wrong for one in edges)
    return EdgeList(
        edges=tuple(edges),
        total_expected=total,
        temperature=1.2,
        bias=(),
        note="made up",
    )


def predict(case: Case, *, edges: EdgeList | None = None) -> None:
    """Write what a worker would: half the volume is class 1."""
    folder = case.new_prediction_folder()
    labels = create_store(folder / "labels.ome.zarr", case.geometry, np.uint8)
    middle = case.geometry.shape[2] // 2
    labels[:, :, :middle] = 1
    for name in ("error_map", "edge_map"):
        store = folder / f"{name}.ome.zarr"
        create_store(store, case.geometry, np.uint8, kind="image")
    if edges is not None:
        write_edges(folder / "edges.json", edges)
    complete_prediction(folder, version=0, figures={})


@pytest.fixture
def shown():
    """Ask for a window on the screen, which takes longer: for mouse and focus."""


@pytest.fixture
def window(make_napari_viewer, qtbot, request):
    viewer = make_napari_viewer(show="shown" in request.fixturenames)
    session = ProjectSession(viewer)
    review = Review(viewer, session)
    tab = ReviewTab(session, review)
    viewer.window.add_dock_widget(tab, name="E2MISeg")
    yield Window(viewer, session, review, tab)
    session.close()
    review.close()


@pytest.fixture
def reviewing(window, case, qtbot) -> Window:
    """A window with a ranked prediction on show."""
    predict(case, edges=made_up_edges(case.geometry.shape))
    open_project(qtbot, window, case.project.path)
    return window


def open_project(qtbot, window: Window, path: Path) -> None:
    window.session.open(path)
    qtbot.waitUntil(lambda: window.session.case is not None, timeout=WAIT)
    qtbot.waitUntil(lambda: not window.session.busy, timeout=WAIT)


def press(qtbot, window: Window, text: str) -> None:
    for sign in text:
        qtbot.keyClick(window.canvas, sign)


def click(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def click_row(qtbot, table, row: int) -> None:
    where = table.visualRect(table.model().index(row, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)


def draw_in(window: Window, *ranks: int) -> None:
    """Draw a voxel of each edge, as a stroke of the brush does."""
    for rank in ranks:
        z, y, x = window.review.entries[rank - 1].edge.centre
        voxel = ((z, z + 1), (y, y + 1), (x, x + 1))
        window.session.store.paint(voxel, np.ones((1, 1, 1), bool), 2)


def hold(window: Window, *, down: bool) -> None:
    """Press the mouse over the picture, or release it."""
    act = QTest.mousePress if down else QTest.mouseRelease
    act(window.canvas, Qt.MouseButton.LeftButton, pos=QPoint(50, 50))


def number(window: Window) -> int | None:
    return None if window.review.current is None else window.review.current.edge.number


def verdicts(window: Window) -> list[str | None]:
    return [one.verdict for one in window.review.entries]


def authority(window: Window, rank: int) -> np.ndarray:
    box = window.review.entries[rank - 1].edge.box
    return np.asarray(window.session.store.authority[box_slices(box)])


def on_canvas(window: Window, data_point) -> QPoint:
    """Pixel of the canvas where a voxel's centre is drawn."""
    viewer = window.viewer
    world = np.asarray(window.labels.data_to_world(data_point))
    shown = list(viewer.dims.displayed)
    centre = np.array(viewer.scene.camera.center)[-2:]
    offset = (world[shown] - centre) * viewer.scene.camera.zoom
    middle = np.array([window.canvas.height(), window.canvas.width()]) / 2
    y, x = middle + offset
    return QPoint(round(x), round(y))


def is_drawn(window: Window, voxel: tuple[int, int, int]) -> bool:
    """Whether the picture shows a voxel by now where it is to be."""
    where, canvas = on_canvas(window, voxel), window.viewer.window._qt_viewer.canvas
    world = canvas._map_canvas2world((where.x(), where.y()), canvas.view)
    hit = np.round(window.labels.world_to_data(world)).astype(int)
    return tuple(hit.tolist()) == voxel


def test_without_a_project_words_say_what_to_do(window, qtbot):
    assert window.review.stage == Stage.NO_CASE
    assert window.tab.state.text().startswith("No project is open.")
    assert not window.tab.ready.isVisibleTo(window.tab)
    assert not window.tab.brush.isVisibleTo(window.tab)
    press(qtbot, window, ".,cas")  # nothing to go to, nothing to decide
    assert window.review.current is None


def test_a_case_without_a_prediction_says_so(window, case, qtbot):
    open_project(qtbot, window, case.project.path)
    assert window.review.stage == Stage.NO_PREDICTION
    assert window.tab.state.text().startswith("This case has no prediction yet.")
    assert window.tab.brush.isVisibleTo(window.tab)  # one may paint all the same


def test_a_missing_image_is_told(window, case, qtbot, oblique_scan):
    predict(case, edges=made_up_edges(case.geometry.shape))
    oblique_scan.unlink()
    open_project(qtbot, window, case.project.path)
    assert window.review.stage == Stage.NO_IMAGE
    assert "is not where it was" in window.tab.state.text()


def test_edges_that_nobody_looked_for_are_offered(window, case, qtbot):
    predict(case)
    open_project(qtbot, window, case.project.path)
    assert window.review.stage == Stage.NOT_RANKED
    assert window.tab.search.text() == "Find uncertain edges"
    with qtbot.waitSignal(window.review.edges_asked):
        click(qtbot, window.tab.search)
    window.review.show_search("looking for uncertain edges, 40 %")
    assert window.tab.state.text() == "looking for uncertain edges, 40 %"
    assert not window.tab.search.isEnabled()
    write_edges(case.merged.edges_path, made_up_edges(case.geometry.shape))
    window.review.reload()
    assert window.review.stage == Stage.READY
    assert not window.tab.state.isVisibleTo(window.tab)
    assert not window.tab.search.isVisibleTo(window.tab)


def test_a_damaged_list_is_one_line(window, case, qtbot):
    predict(case)
    open_project(qtbot, window, case.project.path)
    case.merged.edges_path.write_text("[]")
    window.review.reload()
    assert "rank the edges again" in window.tab.message.text.text()
    assert window.tab.search.isVisibleTo(window.tab)


def test_an_empty_list_is_good_news(window, case, qtbot):
    predict(case, edges=made_up_edges(case.geometry.shape, count=0))
    open_project(qtbot, window, case.project.path)
    assert window.tab.state.text().startswith("No uncertain edges")
    press(qtbot, window, ".,")


def test_the_list_shows_the_worst_first(reviewing):
    table = reviewing.tab.edges.table
    texts = [
        [table.item(row, column).text() for column in range(1, 5)]
        for row in range(table.rowCount())
    ]
    assert texts[:2] == [
        ["1", "first & best", "60", "+0.030"],
        ["2", "first & best, second", "30", "+0.015"],
    ]
    assert len(texts) == len(CORNERS)
    tip = table.item(0, 3).toolTip()
    assert "first & best meets background. About 60 wrong voxels" in tip
    assert reviewing.tab.tally.text().startswith("0 of 6 done, 0 %")
    assert "made up" in reviewing.tab.tally.toolTip()
    assert reviewing.tab.detail.text() == "Press . for the worst edge, or click one."


def test_a_jump_shows_the_edge_in_each_plane(shown, reviewing, qtbot):
    viewer = reviewing.viewer
    for rank, order in enumerate([(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)], start=1):
        viewer.dims.set_current_step(range(3), (20, 29, 0))  # away from all edges
        viewer.dims.order = order
        press(qtbot, reviewing, ".")
        edge = reviewing.review.current.edge
        assert edge.number == rank
        assert viewer.dims.current_step[order[0]] == edge.centre[order[0]]
        first, after = edge.box[order[0]]
        assert f". In slices {first} to {after - 1}. " in reviewing.tab.detail.text()
        start, stop = np.array(world_bounds(reviewing.labels, edge.box))
        displayed = list(viewer.dims.displayed)
        middle = ((start + stop) / 2)[displayed]
        np.testing.assert_allclose(viewer.scene.camera.center[-2:], middle)
        pixels = (stop - start)[displayed] * viewer.scene.camera.zoom
        assert max(pixels / viewer.canvas.size) == pytest.approx(1 / 3)
        assert viewer.dims.order == order
        assert viewer.layers.selection.active is reviewing.labels


def test_in_three_dimensions_the_edge_is_in_the_middle(reviewing, qtbot):
    viewer = reviewing.viewer
    viewer.dims.ndisplay = 3
    press(qtbot, reviewing, ".")
    start, stop = np.array(
        world_bounds(reviewing.labels, reviewing.review.current.edge.box)
    )
    np.testing.assert_allclose(viewer.scene.camera.center, (start + stop) / 2)
    part = max(stop - start) * viewer.scene.camera.zoom / min(viewer.canvas.size)
    assert part == pytest.approx(1 / 3)
    viewer.dims.ndisplay = 2  # and stays there
    assert viewer.dims.current_step[0] == reviewing.review.current.edge.centre[0]
    np.testing.assert_allclose(
        viewer.scene.camera.center[-2:], ((start + stop) / 2)[1:]
    )


def test_another_plane_stays_at_the_edge(reviewing, qtbot):
    viewer = reviewing.viewer
    press(qtbot, reviewing, ".")
    edge = reviewing.review.current.edge
    viewer.dims.order = (1, 0, 2)
    assert viewer.dims.current_step[1] == edge.centre[1]
    start, stop = np.array(world_bounds(reviewing.labels, edge.box))
    np.testing.assert_allclose(
        viewer.scene.camera.center[-2:], ((start + stop) / 2)[[0, 2]]
    )
    viewer.dims.set_current_step(2, 45)  # away from it
    viewer.dims.order = (2, 0, 1)
    assert viewer.dims.current_step[2] == 45  # nobody is dragged back
    whole = viewer.scene.camera.zoom
    viewer.fit_to_view()
    assert viewer.scene.camera.zoom == whole


def test_a_series_with_channels_is_aimed_at_by_its_last_axes(reviewing, qtbot):
    viewer = reviewing.viewer
    viewer.add_image(np.zeros((9, 4, 4, 4)), name="series")
    assert viewer.dims.ndim == 4
    press(qtbot, reviewing, ".")
    centre = reviewing.review.current.edge.centre
    index = reviewing.labels.world_to_data(viewer.dims.point[1:])
    assert round(float(index[0])) == centre[0]


def test_the_keys_fire_in_every_mode_of_the_labels_layer(reviewing, qtbot):
    modes = ["pan_zoom", "paint", "erase", "fill", "polygon", "pick"]
    for rank, mode in enumerate(modes, start=1):
        reviewing.labels.mode = mode
        press(qtbot, reviewing, ".")
        assert number(reviewing) == rank
        press(qtbot, reviewing, ",.")
        assert number(reviewing) == rank
        assert reviewing.labels.mode == mode
    draw_in(reviewing, 3, 6)
    for mode, key in zip(modes, "casca", strict=False):
        reviewing.labels.mode = mode
        press(qtbot, reviewing, key)
        assert reviewing.labels.mode == mode
    given = [one.verdict for one in reviewing.review.entries]
    assert given == ["fine", "skipped", "corrected", "fine", None, "corrected"]
    press(qtbot, reviewing, ",")
    assert number(reviewing) == 5  # the only one that is left


@pytest.mark.parametrize("which", ["image_layer", "error_layer", "edge_layer"])
def test_the_keys_fire_with_another_layer_of_ours_active(reviewing, qtbot, which):
    reviewing.viewer.layers.selection.active = getattr(reviewing.session, which)
    press(qtbot, reviewing, ".")
    assert reviewing.viewer.layers.selection.active is reviewing.labels
    reviewing.viewer.layers.selection.active = getattr(reviewing.session, which)
    draw_in(reviewing, 1)
    press(qtbot, reviewing, "c")
    assert verdicts(reviewing)[0] == "corrected"


@pytest.mark.parametrize("which", ["image_layer", "error_layer", "edge_layer"])
def test_the_tools_work_on_the_labels_whichever_layer_is_active(
    reviewing, qtbot, which
):
    modes = ["erase", "paint", "polygon", "fill", "pick", "pan_zoom"]
    layer = getattr(reviewing.session, which)
    for key, mode in zip("123456", modes, strict=True):
        reviewing.viewer.layers.selection.active = layer
        press(qtbot, reviewing, key)
        assert reviewing.labels.mode == mode
        assert layer.mode == "pan_zoom"
        assert reviewing.viewer.layers.selection.active is reviewing.labels


@pytest.mark.parametrize(
    "which", ["image_layer", "labels_layer", "error_layer", "edge_layer"]
)
def test_the_layers_of_a_case_cannot_be_moved(reviewing, monkeypatch, which):
    told = []
    monkeypatch.setattr(review_tools, "show_info", told.append)
    layer = getattr(reviewing.session, which)
    before = {name: np.array(getattr(layer, name)) for name in ("affine", "scale")}
    layer.mode = "transform"
    for shift in (3, 4):
        moved = before["affine"].copy()
        moved[0, 3] += shift
        layer.affine = moved
    layer.scale = 2 * before["scale"]
    for name, value in before.items():
        np.testing.assert_array_equal(np.asarray(getattr(layer, name)), value)
    assert layer.mode == "pan_zoom"
    assert len(told) == 1
    assert "stay where they are" in told[0]


def test_the_layers_are_napari_s_again_after_the_case(reviewing, qtbot):
    layer = reviewing.session.image_layer
    reviewing.review.close()
    reviewing.viewer.layers.selection.active = layer
    press(qtbot, reviewing, "2")
    assert layer.mode == "transform"
    layer.translate = (1, 2, 3)
    assert tuple(layer.translate) == (1, 2, 3)


def test_napari_keeps_its_own_keys(reviewing, qtbot):
    press(qtbot, reviewing, ".2")
    assert reviewing.labels.mode == "paint"
    press(qtbot, reviewing, "1")
    assert reviewing.labels.mode == "erase"
    reviewing.labels.selected_label = 1
    press(qtbot, reviewing, "=")
    assert reviewing.labels.selected_label == 2


def test_a_key_hides_the_error_map_and_shows_it_again(reviewing, qtbot):
    shown = []
    for _ in range(2):
        press(qtbot, reviewing, "h")
        shown.append(reviewing.session.error_layer.visible)
    assert shown == [False, True]


def test_a_failure_is_told_until_something_goes_well(reviewing, qtbot, case):
    draw_in(reviewing, 1)
    press(qtbot, reviewing, ".")
    blocked = case.folder / "review.jsonl"
    blocked.mkdir()
    press(qtbot, reviewing, "c")
    message = reviewing.tab.message
    qtbot.waitUntil(lambda: message.isVisibleTo(reviewing.tab))
    assert verdicts(reviewing)[0] is None
    assert number(reviewing) == 2  # the view does not jump under the hand
    blocked.rmdir()
    press(qtbot, reviewing, ",c")
    assert not message.isVisibleTo(reviewing.tab)
    assert reviewing.review.trouble() == ""
    assert verdicts(reviewing)[0] == "corrected"


def test_a_disk_that_refuses_leaves_the_verdict_of_before(reviewing, qtbot, case):
    press(qtbot, reviewing, ".a")
    assert reviewing.review.trouble() == ""
    log = case.folder / "review.jsonl"
    log.rename(case.folder / "aside")
    log.mkdir()
    click_row(qtbot, reviewing.tab.edges.table, 0)
    draw_in(reviewing, 1)
    press(qtbot, reviewing, "c")
    assert "review.jsonl" in reviewing.review.trouble()  # asked as the window closes
    qtbot.waitUntil(lambda: verdicts(reviewing)[0] == "fine")
    assert reviewing.review.trouble() == ""  # it was told


def test_nobody_waits_for_the_disk_and_verdicts_keep_their_order(
    reviewing, qtbot, case, monkeypatch
):
    gate, append, told = threading.Event(), ReviewLog.append, []

    def slow(log, edge, verdict, *, prediction):
        gate.wait(20)
        told.append((edge.number, verdict, threading.current_thread()))
        append(log, edge, verdict, prediction=prediction)

    monkeypatch.setattr(ReviewLog, "append", slow)
    draw_in(reviewing, 1)
    press(qtbot, reviewing, ".cas")
    assert told == []
    assert verdicts(reviewing)[:3] == ["corrected", "fine", "skipped"]
    reviewing.review.reload()  # the log does not know of them yet
    assert verdicts(reviewing)[:3] == ["corrected", "fine", "skipped"]
    gate.set()
    assert reviewing.review.trouble() == ""
    assert [one[:2] for one in told] == [(1, "corrected"), (2, "fine"), (3, "skipped")]
    assert threading.main_thread() not in {thread for *_, thread in told}
    assert list(case.review().latest().values()) == ["corrected", "fine", "skipped"]


def test_a_search_merges_the_newest_prediction_first(reviewing, qtbot, case):
    """After a merge that failed: the edges looked for are those on show."""
    client = EngineClient(["none"])
    search = EdgeSearch(reviewing.session, client, reviewing.review)
    jobs = []
    client.submit = jobs.append
    predict(case, edges=made_up_edges(case.geometry.shape, count=3))
    with qtbot.waitSignal(reviewing.session.predicted, timeout=WAIT):
        search.begin()
    assert len(reviewing.review.entries) == 3
    assert jobs == []
    search.begin()
    qtbot.waitUntil(lambda: len(jobs) == 1, timeout=WAIT)


def test_review_goes_on_after_it_was_closed(reviewing, qtbot):
    reviewing.review.close()
    press(qtbot, reviewing, ".")
    assert number(reviewing) is None
    reviewing.review.open()
    press(qtbot, reviewing, ".a")
    assert number(reviewing) == 2
    assert reviewing.viewer.scene.overlays["e2miseg_edge"].visible


def test_a_visit_follows_the_mouse_and_the_plane_once(make_napari_viewer):
    viewer = make_napari_viewer()
    events = (viewer.dims.events.order, viewer.dims.events.ndisplay)

    def followed():
        return len(viewer.mouse_drag_callbacks), *(len(one.callbacks) for one in events)

    before = followed()
    visit = EdgeVisit(viewer, ProjectSession(viewer))
    for _ in range(2):
        assert followed() == tuple(n + 1 for n in before)
        assert "e2miseg_edge" in viewer.scene.overlays
        visit.close()
        assert followed() == before
        assert "e2miseg_edge" not in viewer.scene.overlays
        visit.open()
    visit.close()


def test_another_case_has_edges_of_its_own(reviewing, qtbot, case, tmp_path):
    volume = tmp_path / "other.nii.gz"
    volume.write_bytes((tmp_path / "scan.nii.gz").read_bytes())
    other = case.project.add_case(open_volume(volume))
    predict(other, edges=made_up_edges(other.geometry.shape))
    press(qtbot, reviewing, ".c")
    reviewing.session.show_case(other.name)
    qtbot.waitUntil(lambda: reviewing.session.case.name == other.name, timeout=WAIT)
    qtbot.waitUntil(lambda: not reviewing.session.busy, timeout=WAIT)
    assert verdicts(reviewing) == [None] * 6
    assert reviewing.review.current is None
    assert not reviewing.viewer.scene.overlays["e2miseg_edge"].visible
    press(qtbot, reviewing, ".")
    assert number(reviewing) == 1


def test_verdict_keys_do_nothing_before_an_edge_is_on_show(reviewing, qtbot):
    press(qtbot, reviewing, "cas")
    assert verdicts(reviewing) == [None] * 6
    assert not reviewing.session.case.review().latest()


def test_typing_in_a_text_field_decides_nothing(shown, reviewing, qtbot):
    press(qtbot, reviewing, ".")
    field = QLineEdit()
    reviewing.viewer.window.add_dock_widget(field, name="notes")
    field.setFocus()
    qtbot.keyClicks(field, "scar, cas.")
    assert field.text() == "scar, cas."
    assert number(reviewing) == 1
    assert verdicts(reviewing) == [None] * 6


def test_verdicts_vouch_for_the_voxels_and_are_logged(reviewing, qtbot, case):
    draw_in(reviewing, 1)
    press(qtbot, reviewing, ".cas")
    first = authority(reviewing, 1)
    assert (first == HUMAN).sum() == 1
    assert (first == ACCEPTED).sum() == first.size - 1
    assert (authority(reviewing, 2) == ACCEPTED).all()
    assert (authority(reviewing, 3) == MACHINE).all()
    assert reviewing.review.trouble() == ""
    edges = made_up_edges(case.geometry.shape).edges
    log = case.review().latest()
    assert [log.get((1, one.box)) for one in edges[:4]] == [
        "corrected",
        "fine",
        "skipped",
        None,
    ]


def test_a_click_on_a_row_jumps_and_leaves_the_keys_to_the_viewer(
    shown, reviewing, qtbot
):
    field = QLineEdit()
    reviewing.viewer.window.add_dock_widget(field, name="notes")
    field.setFocus()
    click_row(qtbot, reviewing.tab.edges.table, 3)
    assert number(reviewing) == 4
    assert not field.hasFocus()
    assert not reviewing.tab.edges.table.hasFocus()
    focused = reviewing.viewer.window._qt_window.focusWidget()
    qtbot.keyClick(focused, "a")
    assert verdicts(reviewing)[3] == "fine"
    assert number(reviewing) == 5


def test_letters_typed_in_the_focused_list_reach_the_viewer(reviewing, qtbot):
    table = reviewing.tab.edges.table
    press(qtbot, reviewing, ".")
    table.setFocus()
    qtbot.keyClick(table, "s")
    assert verdicts(reviewing)[0] == "skipped"
    table.setCurrentCell(0, 0)
    qtbot.keyClick(table, Qt.Key.Key_Down)
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert number(reviewing) == 2


def test_buttons_do_what_the_keys_do(reviewing, qtbot):
    tab = reviewing.tab
    assert not tab.verdicts["fine"].isEnabled()
    click(qtbot, tab.next)
    assert number(reviewing) == 1
    draw_in(reviewing, 1)
    click(qtbot, tab.verdicts["corrected"])
    click(qtbot, tab.verdicts["fine"])
    click(qtbot, tab.verdicts["skipped"])
    assert verdicts(reviewing)[:4] == ["corrected", "fine", "skipped", None]
    click(qtbot, tab.previous)
    assert number(reviewing) == 6
    assert tab.edges.table.selectedItems()[1].text() == "6"
    for row, shown in enumerate((True, True, True, False)):
        assert tab.edges.table.item(row, 0).icon().isNull() is not shown


def test_painting_after_a_jump_suggests_corrected(shown, reviewing, qtbot):
    press(qtbot, reviewing, ".2")
    tab, labels = reviewing.tab, reviewing.labels
    edge = reviewing.review.current.edge
    wrong = int(np.asarray(labels.data[0][edge.centre]))
    labels.selected_label = 2
    labels.brush_size = 2
    assert not tab.verdicts["corrected"].isChecked()
    qtbot.waitUntil(lambda: is_drawn(reviewing, edge.centre), timeout=WAIT)
    where = on_canvas(reviewing, edge.centre)
    with qtbot.waitSignal(reviewing.session.edited, timeout=WAIT):
        qtbot.mouseMove(reviewing.canvas, where)
        qtbot.mousePress(reviewing.canvas, Qt.MouseButton.LeftButton, pos=where)
        qtbot.mouseRelease(reviewing.canvas, Qt.MouseButton.LeftButton, pos=where)
    assert wrong != 2
    assert int(np.asarray(labels.data[0][edge.centre])) == 2
    assert reviewing.review.looks_corrected
    assert tab.verdicts["corrected"].isChecked()
    assert "You painted here" in tab.detail.text()
    press(qtbot, reviewing, "c")
    assert not tab.verdicts["corrected"].isChecked()
    made = authority(reviewing, 1)
    assert (made == HUMAN).any()
    assert (made == ACCEPTED).any()
    assert not (made == MACHINE).any()


def test_painting_elsewhere_suggests_nothing(reviewing, qtbot):
    press(qtbot, reviewing, ".")
    with qtbot.waitSignal(reviewing.session.edited, timeout=WAIT):
        reviewing.session.store.write((slice(0, 2), slice(20, 23), slice(25, 28)), 2)
    assert not reviewing.review.looks_corrected


CONTROL = Qt.KeyboardModifier.ControlModifier


def test_undo_takes_voxels_and_verdict_back(reviewing, qtbot):
    press(qtbot, reviewing, ".a")
    assert number(reviewing) == 2
    qtbot.keyClick(reviewing.canvas, "z", modifier=CONTROL)
    qtbot.waitUntil(lambda: verdicts(reviewing)[0] is None, timeout=WAIT)
    assert (authority(reviewing, 1) == MACHINE).all()
    assert reviewing.tab.tally.text().startswith("0 of 6 done")
    both = CONTROL | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(reviewing.canvas, "z", modifier=both)
    qtbot.waitUntil(lambda: verdicts(reviewing)[0] == "fine", timeout=WAIT)
    assert (authority(reviewing, 1) == ACCEPTED).all()


def test_undo_and_redo_say_what_they_did(reviewing, qtbot):
    status, labels = reviewing.tab.status, reviewing.labels
    press(qtbot, reviewing, ".")
    labels.undo()
    assert status.text() == "Nothing left to undo."
    z, _, _ = reviewing.review.current.edge.centre
    labels.mode = "paint"
    labels.paint(reviewing.review.current.edge.centre, 2)
    labels.undo()
    line = f"Undone: paint in slice {z}."
    assert status.text() == line
    reviewing.viewer.dims.set_current_step(0, z + 3)
    with qtbot.waitSignal(reviewing.session.edited, timeout=WAIT):
        labels.redo()
    line = f"Redone: paint in slice {z}, which is not on show."
    assert status.text() == line
    assert reviewing.review.looks_corrected
    labels.redo()
    assert status.text() == "Nothing left to redo."


def test_redo_of_a_verdict_goes_to_its_edge(reviewing, qtbot):
    press(qtbot, reviewing, ".a")
    reviewing.labels.undo()
    qtbot.waitUntil(lambda: number(reviewing) == 1, timeout=WAIT)
    press(qtbot, reviewing, "...")
    reviewing.labels.redo()
    qtbot.waitUntil(lambda: number(reviewing) == 1, timeout=WAIT)
    assert verdicts(reviewing)[0] == "fine"
    assert reviewing.tab.status.text() == "Redone: edge 1, fine as it is."


def test_undo_of_a_verdict_goes_back_to_its_edge(reviewing, qtbot):
    press(qtbot, reviewing, ".aa")
    assert number(reviewing) == 3
    qtbot.keyClick(reviewing.canvas, "z", modifier=CONTROL)
    qtbot.waitUntil(lambda: number(reviewing) == 2, timeout=WAIT)
    edge = reviewing.review.current.edge
    assert reviewing.viewer.dims.current_step[0] == edge.centre[0]
    line = "Undone: edge 2 has no verdict any more."
    assert reviewing.tab.status.text() == line
    press(qtbot, reviewing, ".")
    assert reviewing.tab.status.text() == ""


def test_of_several_verdicts_undone_at_once_the_last_one_is_shown(reviewing, qtbot):
    click_row(qtbot, reviewing.tab.edges.table, 4)
    press(qtbot, reviewing, "a")  # on 5, then on 6
    press(qtbot, reviewing, "a")
    reviewing.labels.undo()
    reviewing.labels.undo()
    qtbot.waitUntil(lambda: verdicts(reviewing)[4:] == [None, None], timeout=WAIT)
    assert number(reviewing) == 5


def test_a_verdict_undone_without_labels_to_show_leaves_the_list(
    reviewing, qtbot, monkeypatch
):
    press(qtbot, reviewing, ".a")
    monkeypatch.setattr(reviewing.session._layers, "labels", None)
    reviewing.session.store.undo()
    qtbot.waitUntil(lambda: verdicts(reviewing)[0] is None, timeout=WAIT)
    assert reviewing.tab.tally.text().startswith("0 of 6 done")
    assert number(reviewing) == 2


def test_undoing_a_stroke_moves_nothing(reviewing, qtbot):
    press(qtbot, reviewing, ".a")
    draw_in(reviewing, 1)
    with qtbot.waitSignal(reviewing.session.edited, timeout=WAIT):
        reviewing.labels.undo()
    assert number(reviewing) == 2
    assert verdicts(reviewing)[0] == "fine"


def test_nothing_corrected_is_noted_as_fine_in_words(reviewing, qtbot, case):
    press(qtbot, reviewing, ".c")
    assert verdicts(reviewing)[0] == "fine"
    assert number(reviewing) == 2
    line = "No label was changed in edge 1: noted as fine."
    assert reviewing.tab.status.text() == line
    assert (authority(reviewing, 1) == ACCEPTED).all()
    assert reviewing.review.trouble() == ""
    assert list(case.review().latest().values()) == ["fine"]
    press(qtbot, reviewing, "a")
    assert reviewing.tab.status.text() == ""


def test_painting_the_label_that_is_there_corrects_nothing(reviewing, qtbot):
    press(qtbot, reviewing, ".")
    store, edge = reviewing.session.store, reviewing.review.current.edge
    voxel = tuple((at, at + 1) for at in edge.centre)
    same = int(np.asarray(store.levels[0][edge.centre]))
    store.paint(voxel, np.ones((1, 1, 1), bool), same)
    assert (authority(reviewing, 1) == HUMAN).any()
    press(qtbot, reviewing, "c")
    assert verdicts(reviewing)[0] == "fine"
    assert "noted as fine" in reviewing.tab.status.text()


def test_what_is_drawn_counts_where_the_prediction_is_gone(reviewing, qtbot, case):
    press(qtbot, reviewing, ".")
    draw_in(reviewing, 1)
    shutil.rmtree(case.merged.labels)
    press(qtbot, reviewing, "c")
    assert verdicts(reviewing)[0] == "corrected"


def test_a_stroke_counts_before_it_is_on_disk(reviewing, qtbot, monkeypatch):
    gate, write = threading.Event(), Journal._write

    def slow(journal, batch):
        gate.wait(20)
        write(journal, batch)

    monkeypatch.setattr(Journal, "_write", slow)
    press(qtbot, reviewing, ".")
    draw_in(reviewing, 1)
    store = reviewing.session.store
    assert store.saved_seq < store.seq
    press(qtbot, reviewing, "c")
    assert verdicts(reviewing)[0] == "corrected"
    gate.set()


def test_nothing_moves_under_a_hand_that_paints(shown, reviewing, qtbot):
    press(qtbot, reviewing, ".")
    reviewing.labels.selected_label = 2  # none of the next edge's classes but one's
    hold(reviewing, down=True)
    press(qtbot, reviewing, ".,cas")
    click_row(qtbot, reviewing.tab.edges.table, 3)
    assert number(reviewing) == 1
    assert verdicts(reviewing) == [None] * 6
    assert reviewing.labels.selected_label == 2
    hold(reviewing, down=False)
    press(qtbot, reviewing, "..")
    assert number(reviewing) == 3


def test_undo_under_a_hand_that_paints_moves_nothing(shown, reviewing, qtbot):
    press(qtbot, reviewing, ".a")
    hold(reviewing, down=True)
    reviewing.session.store.undo()
    qtbot.waitUntil(lambda: verdicts(reviewing)[0] is None, timeout=WAIT)
    assert number(reviewing) == 2
    hold(reviewing, down=False)


def test_an_edge_brings_a_class_that_meets_there(reviewing, qtbot):
    """Odd edges have the classes 0 and 1, even ones 0, 1 and 2."""
    labels = reviewing.labels
    labels.selected_label = 2
    press(qtbot, reviewing, ".")
    assert labels.selected_label == 1
    table = reviewing.tab.classes.table
    assert table.item(table.currentRow(), 0).text() == "first & best"
    labels.selected_label = 2
    click_row(qtbot, reviewing.tab.edges.table, 1)
    assert labels.selected_label == 2  # it meets there: the user's choice stays
    labels.selected_label = 0
    press(qtbot, reviewing, ".")
    assert labels.selected_label == 0  # to erase is never wrong


def test_nothing_moves_or_is_decided_while_a_polygon_is_open(reviewing, qtbot):
    labels, line = reviewing.labels, reviewing.tab.status
    press(qtbot, reviewing, "..3")
    labels.selected_label = 2
    begun = [[4, 9, 9], [4, 12, 9], [4, 12, 14], [4, 12, 14]]
    labels._overlays["polygon"].points = begun
    for key in ".,cas":
        line.setText("")
        press(qtbot, reviewing, key)
        assert (
            line.text() == "Finish the polygon with Enter or drop it with Escape first."
        )
    click_row(qtbot, reviewing.tab.edges.table, 3)
    assert number(reviewing) == 2
    assert labels.selected_label == 2
    assert verdicts(reviewing) == [None] * 6
    assert labels._overlays["polygon"].points == begun
    qtbot.keyClick(reviewing.canvas, Qt.Key.Key_Escape)
    press(qtbot, reviewing, ".")
    assert number(reviewing) == 3


def test_undo_while_a_polygon_is_open_moves_nothing(reviewing, qtbot):
    press(qtbot, reviewing, ".a")
    reviewing.labels._overlays["polygon"].points = [[4, 9, 9], [4, 12, 9]]
    reviewing.session.store.undo()
    qtbot.waitUntil(lambda: verdicts(reviewing)[0] is None, timeout=WAIT)
    assert number(reviewing) == 2


def test_a_polygon_is_painted_only_in_its_own_slice(reviewing, qtbot, monkeypatch):
    told = []
    monkeypatch.setattr(review_polygon, "show_warning", told.append)
    labels, dims = reviewing.labels, reviewing.viewer.dims
    labels.mode = "polygon"
    labels.selected_label = 2
    reviewing.viewer.layers.selection.active = labels
    dims.set_current_step(0, 4)
    polygon = [[4, 9, 9], [4, 12, 9], [4, 12, 14], [5, 9, 14]]  # a cursor at the end
    labels._overlays["polygon"].points = polygon
    for order, at in (((0, 1, 2), 5), ((1, 0, 2), 9), ((0, 1, 2), 4)):
        dims.order = order
        dims.set_current_step(order[0], at)
        before = np.array(labels.data[0][4])
        qtbot.keyClick(reviewing.canvas, Qt.Key.Key_Return)
        painted = int((np.asarray(labels.data[0][4]) != before).sum())
        assert (painted > 0) is (at == 4)
        assert labels.polygon_is_begun is (at != 4)
    assert len(told) == 2
    assert "drawn in another slice" in told[0]


def test_skipped_edges_come_again_after_all_others(reviewing, qtbot):
    press(qtbot, reviewing, ".sasa")
    assert number(reviewing) == 5
    assert reviewing.tab.tally.text().startswith("2 of 6 done, 2 skipped")
    press(qtbot, reviewing, "aa")
    assert number(reviewing) == 1  # by itself
    assert "Skipped. About 60 wrong voxels" in reviewing.tab.detail.text()
    assert reviewing.tab.next_step.text().startswith(
        "2 skipped edges are left: press . to see them again."
    )
    shown = []
    for _ in range(3):
        press(qtbot, reviewing, ".")
        shown.append(number(reviewing))
    assert shown == [3, 1, 3]
    press(qtbot, reviewing, "a")
    assert number(reviewing) == 1
    press(qtbot, reviewing, "s")
    assert number(reviewing) == 1
    assert reviewing.tab.tally.text().startswith("5 of 6 done, 1 skipped")


def test_another_verdict_replaces_the_first(reviewing, qtbot, case):
    press(qtbot, reviewing, ".a")
    click_row(qtbot, reviewing.tab.edges.table, 0)
    assert "Fine as it is; another verdict" in reviewing.tab.detail.text()
    draw_in(reviewing, 1)
    press(qtbot, reviewing, "c")
    assert verdicts(reviewing)[0] == "corrected"
    assert reviewing.review.trouble() == ""
    assert (
        case.review().latest()[1, reviewing.review.entries[0].edge.box] == "corrected"
    )
    assert reviewing.tab.tally.text().startswith("1 of 6 done")


def test_progress_hit_rate_and_what_next(reviewing, qtbot):
    tab = reviewing.tab
    draw_in(reviewing, 1, 2, 3)
    press(qtbot, reviewing, ".ccca")
    assert tab.tally.text().startswith("4 of 6 done, 43 % of expected")
    assert (tab.progress.value(), tab.progress.maximum()) == (4, 6)
    assert not tab.hit_rate.isVisibleTo(tab)
    press(qtbot, reviewing, "a")
    line = "3 of the 5 edges you looked at were really wrong."
    assert tab.hit_rate.text() == line
    assert not tab.next_step.isVisibleTo(tab)
    press(qtbot, reviewing, "s")
    assert tab.next_step.text() == (
        "1 skipped edge is left: press . to see it again. "
        "Fine-tune on 5 reviewed edges, or add another case."
    )
    assert (tab.progress.value(), tab.progress.maximum()) == (5, 6)
    assert tab.next_step.isVisibleTo(tab)
    assert tab.search.text() == "Look for more edges"
    assert number(reviewing) == 6  # the view stays


def test_verdicts_are_there_after_reopening(reviewing, qtbot, case):
    draw_in(reviewing, 1)
    press(qtbot, reviewing, ".cas")
    reviewing.session.leave()
    assert reviewing.review.stage == Stage.NO_CASE
    assert reviewing.review.current is None
    assert not reviewing.tab.ready.isVisibleTo(reviewing.tab)
    open_project(qtbot, reviewing, case.project.path)
    assert verdicts(reviewing)[:4] == ["corrected", "fine", "skipped", None]
    press(qtbot, reviewing, ".")
    assert number(reviewing) == 4


def test_a_new_ranking_keeps_verdicts_and_the_place(reviewing, qtbot, case):
    draw_in(reviewing, 1)
    press(qtbot, reviewing, ".ca")
    assert number(reviewing) == 3
    first = made_up_edges(case.geometry.shape)
    third, fifth = first.edges[2], first.edges[4]
    left = EdgeList(
        edges=(
            Edge(**{**_fields(fifth), "number": 1}),
            Edge(**{**_fields(third), "number": 2}),
        ),
        total_expected=40.0,
        temperature=1.0,
        bias=(0.0, 0.1, 0.2),
        note="refitted on 3 corrected cases",
    )
    write_edges(case.merged.edges_path, left)
    reviewing.session.predicted.emit()
    assert verdicts(reviewing) == [None, None, "corrected", "fine"]
    assert number(reviewing) == 2  # the same box
    # 60 + 30 of those and the 40 that are expected now
    assert reviewing.tab.tally.text().startswith("2 of 4 done, 69 %")
    assert "refitted on 3" in reviewing.tab.tally.toolTip()


def _fields(edge: Edge) -> dict:
    return {name: getattr(edge, name) for name in edge.__dataclass_fields__}


def test_a_new_prediction_begins_anew(reviewing, qtbot, case):
    press(qtbot, reviewing, ".a")
    predict(case, edges=made_up_edges(case.geometry.shape, count=3))
    with qtbot.waitSignal(reviewing.session.predicted, timeout=WAIT):
        reviewing.session.merge(case.prediction)
    assert verdicts(reviewing) == [None] * 3
    assert (authority(reviewing, 1) == ACCEPTED).all()  # what was said still holds


def test_a_class_is_chosen_by_a_click(reviewing, qtbot):
    table = reviewing.tab.classes.table
    names = [table.item(row, 0).text() for row in range(table.rowCount())]
    assert names == ["first & best", "second", "background"]
    reviewing.viewer.layers.selection.active = reviewing.session.image_layer
    click_row(qtbot, table, 1)
    assert reviewing.labels.selected_label == 2
    assert reviewing.labels.mode == "paint"
    assert reviewing.viewer.layers.selection.active is reviewing.labels
    reviewing.labels.mode = "fill"
    click_row(qtbot, table, 2)
    assert reviewing.labels.selected_label == 0
    assert reviewing.labels.mode == "fill"


def test_long_names_have_room_or_are_told_in_full(shown, reviewing, qtbot):
    """A dock is narrow: the name of one class fits, more are in the tip."""
    long = LabelInfo(value=1, name="anterior hippocampus", color="#E69F00")
    other = LabelInfo(value=2, name="posterior hippocampus", color="#56B4E9")
    edges = reviewing.tab.edges
    reviewing.tab.setFixedWidth(372)
    edges.show_edges(reviewing.review.entries, None, (long, other))
    table = edges.table
    metrics, item = table.fontMetrics(), table.item(0, 2)
    swatches = table.iconSize().width() + 8

    def has_room() -> None:
        assert reviewing.tab.width() == 372
        room = table.columnWidth(2) - swatches
        assert metrics.horizontalAdvance(item.text()) <= room
        columns = sum(table.columnWidth(n) for n in range(5))
        assert columns <= table.viewport().width()  # nothing is cut

    qtbot.waitUntil(has_room, timeout=WAIT)
    tip = table.item(1, 2).toolTip()
    assert "anterior hippocampus and posterior hippocampus meet background" in tip


def test_the_class_table_follows_napari(reviewing, qtbot):
    table = reviewing.tab.classes.table
    reviewing.labels.selected_label = 1
    press(qtbot, reviewing, "=")
    assert table.currentRow() == 1
    press(qtbot, reviewing, "x")
    assert table.currentRow() == 2  # the background
    line = reviewing.tab.classes.keys.text()
    assert all(part in line for part in ("2 paint", "1 erase", "4 fill", "3 polygon"))


def test_the_documented_keys_are_those_that_are_bound(reviewing, qtbot):
    press(qtbot, reviewing, ".")  # the labels are the active layer now
    bound = reviewing.viewer.window._qt_viewer._key_map_handler.active_keymap
    table = (
        (DOCS / "loop.md").read_text(encoding="utf-8").partition("| key | does |")[2]
    )
    rows = [row.split("|")[1] for row in table.split("\n\n")[0].splitlines()[2:]]
    documented = [key for row in rows for key in re.findall("`(.+?)`", row)]
    assert len(documented) > 20
    keys = {coerce_keybinding(key) for key in documented}
    assert keys <= set(bound)
    assert set(reviewing.viewer.keymap) <= keys  # all of the review's
    for key in "-=[]123456":
        assert coerce_keybinding(key) in keys


def test_keys_and_outline_go_with_the_review(reviewing, qtbot):
    press(qtbot, reviewing, ".")
    reviewing.review.close()
    press(qtbot, reviewing, ".c")
    assert number(reviewing) == 1
    assert verdicts(reviewing) == [None] * 6
    assert "e2miseg_edge" not in reviewing.viewer.scene.overlays
    assert not reviewing.labels.keymap
    assert not reviewing.viewer.keymap
