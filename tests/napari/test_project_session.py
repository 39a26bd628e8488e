"""The session: a project in a viewer, opened, painted on, merged into and closed."""

import gc
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QThreadPool

from e2miseg_core.errors import ConfigError, WriteError
from e2miseg_core.io import create_store, open_volume
from e2miseg_core.project import Case, LabelStore, Project, complete_prediction
from e2miseg_napari import project_session
from e2miseg_napari.convert import image_layers
from e2miseg_napari.images import ImageChoice, iter_images
from e2miseg_napari.panels.result_section import ResultSection
from e2miseg_napari.project_session import ProjectSession
from e2miseg_napari.saving import ERROR_MAP, Saver
from e2miseg_napari.writers import write_labels_layer

SHAPE = (70, 80, 90)  # more than one chunk along each axis


class Told:
    """What a session has said."""

    def __init__(self, session: ProjectSession) -> None:
        self.opened = self.edited = self.predicted = 0
        self.saved: list[bool] = []
        self.problems: list[str] = []
        self.notices: list[str] = []
        session.notice.connect(self.notices.append)
        session.opened.connect(lambda: self._count("opened"))
        session.edited.connect(lambda: self._count("edited"))
        session.predicted.connect(lambda: self._count("predicted"))
        session.saved.connect(self.saved.append)
        session.problem.connect(lambda problem: self.problems.append(problem.line))

    def _count(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def new_session(qtbot) -> Iterator[Callable[[ViewerModel], ProjectSession]]:
    """Sessions that are closed after the test."""
    made: list[ProjectSession] = []

    def make(viewer: ViewerModel) -> ProjectSession:
        session = ProjectSession(viewer)
        session.told = Told(session)
        made.append(session)
        return session

    yield make
    for session in made:
        qtbot.waitUntil(lambda one=session: not one._background.busy)
        session.close()
        session.deleteLater()


@pytest.fixture
def session(new_session, viewer) -> ProjectSession:
    return new_session(viewer)


@pytest.fixture
def scan(tmp_path) -> Path:
    return write_scan(tmp_path / "scan.nii", seed=1)


def write_scan(path: Path, seed: int) -> Path:
    values = np.random.default_rng(seed).integers(0, 99, SHAPE[::-1], np.uint8)
    nib.save(nib.Nifti1Image(values, np.diag([1.5, 1.5, 3, 1])), path)
    return path


@pytest.fixture
def project(tmp_path, tiny_model, scan) -> Path:
    """A project on disk with the case "scan"."""
    path = tmp_path / "heart.e2m"
    made = Project.create(path, model=tiny_model)
    made.add_case(open_volume(scan))
    return path


def add_prediction(
    case: Case, label: int, chance: int = 100, *, edge: int | None = None
) -> None:
    """Make a prediction; with an `edge`, of a model that has an edge head."""
    folder = case.new_prediction_folder()
    values = {"labels": label, "error_map": chance}
    if edge is not None:
        values["edge_map"] = edge
    for name, value in values.items():
        create_store(folder / f"{name}.ome.zarr", case.geometry, np.uint8)[:] = value
    complete_prediction(folder, version=0, figures={})


def wait(qtbot, session: ProjectSession) -> None:
    qtbot.waitUntil(lambda: not session.busy, timeout=20000)


def wait_until_saved(qtbot, session: ProjectSession) -> None:
    qtbot.waitUntil(lambda: session.store.saved_seq == session.store.seq)


def open_again(qtbot, new_session, path: Path) -> ProjectSession:
    session = new_session(ViewerModel())
    session.open(path)
    wait(qtbot, session)
    return session


def names(viewer: ViewerModel) -> list[str]:
    return [layer.name for layer in viewer.layers]


def test_what_is_painted_is_there_when_the_project_is_opened_again(
    qtbot, session, new_session, project
):
    session.open(project)
    wait(qtbot, session)
    assert session.told.problems == []
    assert session.case.name == "scan"
    session.labels_layer.paint((5, 6, 7), 2)
    session.labels_layer.paint((30, 40, 50), 1)
    session.labels_layer.undo()
    session.close()
    assert session.project is session.case is session.store is None
    again = open_again(qtbot, new_session, project)
    labels = np.asarray(again.labels_layer.data)
    assert labels[5, 6, 7] == 2
    assert labels[30, 40, 50] == 0
    again.labels_layer.redo()  # of the step undone before
    assert again.labels_layer.data[30, 40, 50] == 1
    again.labels_layer.undo()
    again.labels_layer.undo()
    assert not np.asarray(again.labels_layer.data).any()


def test_a_project_is_made_and_gets_the_image_of_the_viewer(
    qtbot, session, viewer, tmp_path, tiny_model, scan
):
    for data, options, _kind in image_layers(open_volume(scan)):
        viewer.add_image(data, **options)
    (choice,) = iter_images(viewer.layers)
    session.create(tmp_path / "new.e2m", tiny_model)
    session.add_image(choice)  # waits for the project
    wait(qtbot, session)
    assert session.told.problems == []
    assert session.project.cases == ("scan",)
    assert session.image_layer is choice.layer
    assert names(viewer) == ["scan", "labels: scan", "error map: scan"]
    assert viewer.layers.selection.active is session.labels_layer
    session.add_image(choice)  # its case is there already
    wait(qtbot, session)
    assert session.project.cases == ("scan",)
    session.close()
    assert names(viewer) == ["scan"]  # the user's own stays
    session.open(tmp_path / "new.e2m")
    wait(qtbot, session)
    assert names(viewer) == ["scan", "labels: scan", "error map: scan"]


def test_an_image_from_memory_is_copied_in(
    qtbot, session, new_session, viewer, tmp_path, tiny_model
):
    values = np.random.default_rng(2).integers(0, 99, SHAPE, np.uint8)
    layer = viewer.add_image(values, scale=(3, 1.5, 1.5), translate=(9, 8, 7))
    layer.name = "of mine"
    session.create(tmp_path / "new.e2m", tiny_model)
    session.add_image(ImageChoice(title=layer.name, layer=layer))
    wait(qtbot, session)
    assert session.told.problems == []
    assert session.labels_layer.translate.tolist() == [9, 8, 7]
    session.labels_layer.paint((5, 6, 7), 2)
    session.close()
    again = open_again(qtbot, new_session, tmp_path / "new.e2m")
    assert again.case.name == "of_mine"
    np.testing.assert_array_equal(np.asarray(again.image_layer.data), values)
    assert again.labels_layer.data[5, 6, 7] == 2


def test_it_says_what_is_edited_and_when_it_is_saved(qtbot, session, project):
    session.open(project)
    wait(qtbot, session)
    told = session.told
    assert told.saved == [True]
    with qtbot.waitSignal(session.edited):
        session.labels_layer.paint((5, 6, 7), 2)
    wait_until_saved(qtbot, session)
    qtbot.waitUntil(lambda: session._watch._seen[1])
    assert told.saved[-1]
    with qtbot.waitSignal(session.edited):
        session.store.undo()
    with qtbot.waitSignal(session.edited):
        session.store.accept(((0, 9), (0, 9), (0, 9)))


def test_an_edit_that_is_not_on_disk_yet_is_told(qtbot, session, project, monkeypatch):
    session.open(project)
    wait(qtbot, session)
    monkeypatch.setattr(LabelStore, "saved_seq", 0)
    with qtbot.waitSignal(session.saved, check_params_cb=lambda saved: not saved):
        session.labels_layer.paint((5, 6, 7), 2)
    monkeypatch.undo()
    with qtbot.waitSignal(session.saved, check_params_cb=lambda saved: saved):
        pass


def test_what_others_change_is_drawn(qtbot, session, viewer, project):
    session.open(project)
    wait(qtbot, session)
    layer = session.labels_layer
    viewer.dims.set_current_step(0, 5)
    layer.paint((5, 6, 7), 2)
    assert (np.asarray(layer._slice.image.raw) == 2).any()
    with qtbot.waitSignal(session.edited):
        session.store.undo()
    assert not np.asarray(layer._slice.image.raw).any()


def test_a_prediction_is_merged_where_no_human_spoke(
    qtbot, session, new_session, viewer, project
):
    session.open(project)
    wait(qtbot, session)
    session.labels_layer.brush_size = 1
    session.labels_layer.paint((5, 6, 7), 2)
    session.labels_layer.paint((5, 6, 8), 0)  # background that a human has seen
    add_prediction(session.case, 1)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.merge(session.case.prediction)
    assert session.told.problems == []
    expected = np.ones(SHAPE, np.uint8)
    expected[5, 6, 7:9] = (2, 0)
    np.testing.assert_array_equal(np.asarray(session.labels_layer.data), expected)
    viewer.dims.set_current_step(0, 9)
    assert (np.asarray(session.labels_layer._slice.image.raw) == 1).all()
    error_map = session.error_layer
    assert names(viewer)[-1] == error_map.name == "error map: scan"
    assert np.asarray(error_map.data[9, 9, 9]) == 100
    error_map.visible = False
    add_prediction(session.case, 2, chance=50)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.merge(session.case.prediction)
    assert np.asarray(session.error_layer.data[9, 9, 9]) == 50
    assert not session.error_layer.visible
    assert session.error_layer is error_map  # a new layer would stall the window
    assert session.case.merged.number == 2
    session.close()
    again = open_again(qtbot, new_session, project)
    assert again.told.predicted == 0  # merged already
    assert np.asarray(again.error_layer.data[9, 9, 9]) == 50


def test_a_prediction_made_while_the_case_was_closed_is_merged_on_opening(
    qtbot, session, project
):
    add_prediction(Project.open(project).case("scan"), 2)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    assert (np.asarray(session.labels_layer.data) == 2).all()
    session.open(project)  # again: it is merged by now
    wait(qtbot, session)
    assert session.told.predicted == 1


def test_a_prediction_of_another_case_is_left_alone(qtbot, session, project, tmp_path):
    other = Project.open(project).add_case(
        open_volume(write_scan(tmp_path / "other.nii", seed=2))
    )
    add_prediction(other, 2)
    session.open(project)
    wait(qtbot, session)
    session.merge(other.prediction)
    assert not session.busy
    assert not np.asarray(session.labels_layer.data).any()
    session.show_case("other")
    qtbot.waitUntil(lambda: session.told.predicted == 1, timeout=20000)
    assert session.case.name == "other"
    assert (np.asarray(session.labels_layer.data) == 2).all()


@pytest.fixture
def held_merge(monkeypatch) -> Iterator[threading.Event]:
    """A merge that goes no further than its first step until the event is set."""
    gate, merge = threading.Event(), LabelStore.merge
    gate.begun = threading.Event()

    def slow(store, prediction):
        steps = merge(store, prediction)
        step = next(steps)
        gate.begun.set()
        while not gate.wait(0.01):
            yield step
        yield step
        return (yield from steps)

    monkeypatch.setattr(LabelStore, "merge", slow)
    yield gate
    gate.set()


@pytest.mark.parametrize("begun", [True, False])
def test_closing_in_the_middle_of_a_merge_and_of_a_stroke_is_safe(
    qtbot, session, new_session, held_merge, project, begun
):
    add_prediction(Project.open(project).case("scan"), 1)
    session.open(project)
    if begun:
        qtbot.waitUntil(held_merge.begun.is_set)
    qtbot.waitUntil(lambda: session.labels_layer is not None)
    layer = session.labels_layer
    layer.brush_size = 1
    layer._begin_stroke()
    layer.paint((5, 6, 7), 2)
    session.close()  # while both go on
    assert not held_merge.is_set()
    assert session.told.predicted == 0
    layer.paint((9, 9, 9), 2)  # a drag that had not ended
    held_merge.set()
    again = open_again(qtbot, new_session, project)  # merges the rest
    expected = np.ones(SHAPE, np.uint8)
    expected[5, 6, 7] = 2
    np.testing.assert_array_equal(np.asarray(again.labels_layer.data), expected)
    assert again.told.predicted == 1
    again.labels_layer.undo()
    assert (np.asarray(again.labels_layer.data) == 1).all()


def test_one_may_paint_during_a_merge(qtbot, session, held_merge, project):
    add_prediction(Project.open(project).case("scan"), 1)
    session.open(project)
    qtbot.waitUntil(lambda: session.labels_layer is not None)
    assert session.busy
    session.labels_layer.brush_size = 1
    for plane in range(0, 70, 10):
        session.labels_layer.paint((plane, 6, 7), 2)
    add_prediction(session.case, 2)
    session.merge(session.case.prediction)  # after the first one
    held_merge.set()
    qtbot.waitUntil(lambda: session.told.predicted == 1, timeout=20000)
    wait(qtbot, session)
    assert session.told.predicted == 1  # the first one was out of date by then
    expected = np.full(SHAPE, 2, np.uint8)
    np.testing.assert_array_equal(np.asarray(session.labels_layer.data), expected)
    authority = np.asarray(session.store.authority)
    assert authority.sum() == authority[::10, 6, 7].sum() == 7


def test_a_merge_that_fails_does_not_take_the_next_one_with_it(
    qtbot, session, project, monkeypatch
):
    gate, merge = threading.Event(), LabelStore.merge

    def fails_first(store, prediction):
        if prediction.number == 1:
            gate.wait(20)
            raise no_room()
        yield from merge(store, prediction)

    monkeypatch.setattr(LabelStore, "merge", fails_first)
    add_prediction(Project.open(project).case("scan"), 1)
    session.open(project)
    qtbot.waitUntil(lambda: session.labels_layer is not None)
    add_prediction(session.case, 2)
    session.merge(session.case.prediction)
    gate.set()
    qtbot.waitUntil(lambda: session.told.predicted == 1, timeout=20000)
    assert session.told.problems == []
    assert session.case.merged.number == 2
    assert (np.asarray(session.labels_layer.data) == 2).all()


def no_room() -> WriteError:
    return WriteError(
        found="no room on the disk", needed="some", do="free space, then try again"
    )


@pytest.fixture
def full_disk(monkeypatch) -> threading.Event:
    """The disk refuses labels as long as this is set."""
    full, flush = threading.Event(), LabelStore.flush

    def refused(store):
        if full.is_set():
            raise no_room()
        flush(store)

    monkeypatch.setattr(LabelStore, "flush", refused)
    monkeypatch.setattr(project_session, "_RETRY_MS", 50)
    return full


def test_a_case_that_cannot_be_closed_is_kept_and_closed_later(
    qtbot, session, new_session, viewer, project, full_disk
):
    session.open(project)
    wait(qtbot, session)
    session.labels_layer.paint((5, 6, 7), 2)
    assert session.trouble() == ""
    full_disk.set()
    assert session.trouble().startswith("no room on the disk")
    viewer.layers.remove(session.labels_layer)
    qtbot.waitUntil(lambda: len(session.told.problems) == 1)
    qtbot.wait(200)  # it is tried again, and nobody is told again
    assert len(session.told.problems) == 1
    assert session.unsaved
    session.show_case("scan")
    wait(qtbot, session)
    assert [line[:7] for line in session.told.problems] == ["no room"] * 2
    assert session.store is None
    session.leave()
    assert session.project is None
    qtbot.waitUntil(lambda: len(session.told.problems) == 3)
    assert (project / "lock").exists()  # nobody else may edit it
    assert session.trouble().count("no room on the disk") == 1
    session.open(project)
    wait(qtbot, session)
    assert session.told.problems[-1].startswith("no room")
    full_disk.clear()
    qtbot.waitUntil(lambda: not session.unsaved)
    assert session.trouble() == ""
    assert not (project / "lock").exists()
    again = open_again(qtbot, new_session, project)
    assert again.told.problems == []
    assert again.labels_layer.data[5, 6, 7] == 2


def test_another_project_can_be_opened_while_a_case_is_kept(
    qtbot, session, new_session, project, tmp_path, tiny_model, full_disk
):
    session.open(project)
    wait(qtbot, session)
    session.labels_layer.paint((5, 6, 7), 2)
    full_disk.set()
    session.create(tmp_path / "second.e2m", tiny_model)
    wait(qtbot, session)
    assert session.project.name == "second"
    qtbot.waitUntil(lambda: session.unsaved)
    full_disk.clear()
    session.open(project)  # no need to wait for the next try
    wait(qtbot, session)
    assert session.labels_layer.data[5, 6, 7] == 2


def test_leaving_a_project_does_not_wait_for_the_disk(
    qtbot, session, project, monkeypatch
):
    gate, flush = threading.Event(), LabelStore.flush

    def slow(store):
        gate.wait(20)
        flush(store)

    monkeypatch.setattr(LabelStore, "flush", slow)
    session.open(project)
    wait(qtbot, session)
    session.labels_layer.paint((5, 6, 7), 2)
    session.leave()
    assert not gate.is_set()
    assert session.project is session.store is None
    assert session.told.opened == 2
    session.open(project)  # waits for what is being written
    gate.set()
    wait(qtbot, session)
    assert session.told.problems == []
    assert session.labels_layer.data[5, 6, 7] == 2


def test_what_was_found_amiss_in_a_journal_is_a_notice(qtbot, session, project):
    with (project / "cases/scan/journal.jsonl").open("ab") as file:
        file.write(b"no line of ours\n")
    session.open(project)
    wait(qtbot, session)
    assert session.told.problems == []
    assert any("damaged" in line or "read" in line for line in session.told.notices)


def test_a_case_taken_away_while_it_is_asked_for_is_shown_again(
    qtbot, session, viewer, project
):
    session.open(project)
    wait(qtbot, session)
    session.show_case("scan")
    assert QThreadPool.globalInstance().waitForDone(20000)  # it was on show
    viewer.layers.remove(session.labels_layer)
    wait(qtbot, session)
    assert session.told.problems == []
    assert names(viewer) == ["scan", "labels: scan", "error map: scan"]


def test_the_error_map_is_swapped_without_the_image(qtbot, session, viewer, project):
    add_prediction(Project.open(project).case("scan"), 1)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    scale = session.image_layer.scale
    viewer.layers.remove(session.image_layer)
    add_prediction(session.case, 2, chance=50)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.merge(session.case.prediction)
    assert np.asarray(session.error_layer.data[9, 9, 9]) == 50
    np.testing.assert_array_equal(session.error_layer.scale, scale)
    layers = [session.labels_layer, session.error_layer]
    assert list(viewer.layers) == layers
    session.bring_image_back()
    session.bring_image_back()
    assert list(viewer.layers) == [session.image_layer, *layers]
    assert viewer.layers.selection.active is session.labels_layer


def test_what_is_told_and_saved_is_the_merged_prediction(
    qtbot, session, project, tmp_path
):
    add_prediction(Project.open(project).case("scan"), 1, chance=51)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    add_prediction(session.case, 2, chance=102)  # nobody has merged it
    saver, section = Saver(), ResultSection()
    qtbot.addWidget(section)
    section.show_case(session.case)
    assert "prediction 1 by" in section.title.text()
    path = tmp_path / "errors.nii"
    with qtbot.waitSignal(saver.saved, timeout=20000):
        saver.save(session.case, session.store, ERROR_MAP, path, overwrite=False)
    np.testing.assert_allclose(np.asarray(open_volume(path).data[0]), 0.2, rtol=1e-6)


@pytest.mark.parametrize("new", [True, False])
def test_of_a_project_for_an_image_that_is_refused_nothing_is_left(
    qtbot, session, tmp_path, tiny_model, monkeypatch, new
):
    def refused(*_args, **_options):
        raise ConfigError(found="2 channels", needed="1", do="take another")

    monkeypatch.setattr(project_session, "add_case", refused)
    path = tmp_path / "new.e2m"
    if new:
        session.create(path, tiny_model)
    else:  # one that somebody has made is left alone
        Project.create(path, model=tiny_model)
        session.open(path)
    session.add_image(ImageChoice(title="a", layer=Image(np.zeros((4, 5, 6)))))
    wait(qtbot, session)
    assert [line[:10] for line in session.told.problems] == ["2 channels"]
    assert path.exists() is not new
    assert (session.project is None) is new


def test_another_program_that_has_the_project_is_named(qtbot, session, project):
    code = (
        "import sys; from e2miseg_core.project import Project; "
        "lock = Project.open(sys.argv[1]).lock(); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(project)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other:
        assert other.stdout.readline() == b"held\n"
        session.open(project)
        wait(qtbot, session)
        assert session.project is None
        (line,) = session.told.problems
        assert f"heart.e2m is open in another program (process {other.pid})" in line
        other.communicate(b"\n")
    session.open(project)
    wait(qtbot, session)
    assert session.labels_layer is not None


def test_an_image_that_has_moved_can_be_found_again(
    qtbot, session, viewer, project, scan, tmp_path
):
    scan.rename(tmp_path / "moved.nii")
    session.open(project)
    wait(qtbot, session)
    (line,) = session.told.problems
    assert str(scan) in line
    assert "needed: " in line
    assert session.missing_image == str(scan)
    assert session.case.name == "scan"
    assert session.store is session.labels_layer is None
    wrong = write_scan(tmp_path / "wrong.nii", seed=5)
    session.relocate(wrong)
    wait(qtbot, session)
    assert "is not the image of the case" in session.told.problems[1]
    assert session.store is None
    session.relocate(tmp_path / "moved.nii")
    wait(qtbot, session)
    assert len(session.told.problems) == 2
    assert session.missing_image == ""
    assert names(viewer) == ["moved", "labels: scan", "error map: scan"]


def test_a_wrong_folder_leaves_the_open_project_alone(
    qtbot, session, project, tmp_path
):
    session.open(project)
    wait(qtbot, session)
    session.open(tmp_path)
    wait(qtbot, session)
    assert "is no project" in session.told.problems[0]
    assert session.case.name == "scan"
    session.labels_layer.paint((5, 6, 7), 2)
    session.open(project)  # the same again
    wait(qtbot, session)
    assert session.labels_layer.data[5, 6, 7] == 2
    assert len(session.told.problems) == 1


def test_one_goes_from_case_to_case_and_from_project_to_project(
    qtbot, session, viewer, project, tmp_path, tiny_model
):
    other = write_scan(tmp_path / "other.nii", seed=2)
    Project.open(project).add_case(open_volume(other))
    session.open(project, case="other")
    session.show_case("scan")
    session.show_case("other")
    wait(qtbot, session)
    assert session.told.problems == []
    assert names(viewer) == ["other", "labels: other", "error map: other"]
    session.labels_layer.paint((5, 6, 7), 2)
    session.show_case("scan")
    session.show_case("other")  # what was painted must be on disk by then
    wait(qtbot, session)
    assert session.labels_layer.data[5, 6, 7] == 2
    session.create(tmp_path / "second.e2m", tiny_model)
    wait(qtbot, session)
    assert session.project.name == "second"
    assert session.case is None
    assert names(viewer) == []
    session.open(project)
    wait(qtbot, session)
    assert session.told.problems == []
    assert names(viewer) == ["scan", "labels: scan", "error map: scan"]


EDGES = "edge probability: scan"


def test_edges_are_shown_beside_the_error_map_where_a_model_tells_them(
    qtbot, session, viewer, project, new_session
):
    def predict(label: int, edge: int | None) -> None:
        add_prediction(session.case, label, edge=edge)
        with qtbot.waitSignal(session.predicted, timeout=20000):
            session.merge(session.case.prediction)

    session.open(project)
    wait(qtbot, session)
    predict(1, None)  # by a model without an edge head
    plain = ["scan", "labels: scan", "error map: scan"]
    assert session.edge_layer is None
    assert names(viewer) == plain
    predict(1, 200)
    layer = session.edge_layer
    assert names(viewer) == [*plain, EDGES]
    assert np.asarray(layer.data[9, 9, 9]) == 200
    assert not layer.visible
    assert viewer.layers.selection.active is session.labels_layer
    for other in (session.error_layer, session.labels_layer):
        np.testing.assert_array_equal(layer.scale, other.scale)
        np.testing.assert_array_equal(layer.affine, other.affine)
    layer.visible = True
    predict(2, 90)
    assert session.edge_layer is layer  # a new layer would stall the window
    assert layer.visible
    assert np.asarray(layer.data[9, 9, 9]) == 90
    viewer.dims.set_current_step(0, 9)
    assert (np.asarray(layer._slice.image.raw) == 90).all()
    assert tuple(layer.contrast_limits) == (0, 255)
    session.close()
    again = open_again(qtbot, new_session, project)
    assert np.asarray(again.edge_layer.data[9, 9, 9]) == 90
    assert not again.edge_layer.visible


def test_edges_go_with_a_model_that_tells_none(qtbot, session, viewer, project):
    add_prediction(Project.open(project).case("scan"), 1, edge=200)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    assert EDGES in names(viewer)
    add_prediction(session.case, 2)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.merge(session.case.prediction)
    assert session.edge_layer is None
    assert names(viewer) == ["scan", "labels: scan", "error map: scan"]


def test_edges_that_the_user_took_away_come_with_the_next_prediction(
    qtbot, session, viewer, project
):
    add_prediction(Project.open(project).case("scan"), 1, edge=200)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    viewer.layers.remove(session.edge_layer)
    assert session.edge_layer is None
    assert session.case is not None
    add_prediction(session.case, 2, edge=30)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.merge(session.case.prediction)
    assert np.asarray(session.edge_layer.data[9, 9, 9]) == 30
    session.close()
    assert EDGES not in names(viewer)


def test_a_layer_taken_away_by_the_user_closes_the_case(
    qtbot, session, viewer, project
):
    add_prediction(Project.open(project).case("scan"), 2)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    viewer.layers.remove(session.error_layer)
    assert session.error_layer is None
    session.labels_layer.paint((5, 6, 7), 1)
    viewer.layers.remove(session.labels_layer)
    assert session.case is None
    assert session.project is not None
    qtbot.waitUntil(lambda: names(viewer) == [])  # once napari has done its own
    session.show_case("scan")
    wait(qtbot, session)
    assert session.labels_layer.data[5, 6, 7] == 1


def test_no_layer_goes_while_napari_is_removing_another(
    qtbot, session, viewer, project
):
    """A canvas that hears of the second one first draws what is gone, and dies."""
    add_prediction(Project.open(project).case("scan"), 2)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    labels, others = session.labels_layer, names(viewer)
    others.remove(labels.name)
    seen = []
    viewer.layers.events.removed.connect(lambda _: seen.append(names(viewer)))
    viewer.layers.remove(labels)
    assert seen == [others]
    qtbot.waitUntil(lambda: names(viewer) == [])


def test_all_layers_may_be_removed_at_once(qtbot, session, viewer, project):
    add_prediction(Project.open(project).case("scan"), 2)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    viewer.layers.select_all()
    viewer.layers.remove_selected()
    assert names(viewer) == []
    assert session.case is None
    assert session.project is not None
    session.show_case("scan")
    wait(qtbot, session)
    assert names(viewer) == ["scan", "labels: scan", "error map: scan"]


def test_closing_while_a_project_is_being_opened_leaves_no_lock(
    qtbot, session, viewer, project, monkeypatch
):
    gate, begun = threading.Event(), threading.Event()
    open_case = project_session.open_case

    def slow(case):
        begun.set()
        gate.wait(20)
        return open_case(case)

    monkeypatch.setattr(project_session, "open_case", slow)
    session.open(project)
    qtbot.waitUntil(begun.is_set)
    session.close()
    gate.set()
    qtbot.waitUntil(lambda: not session.busy)
    assert session.project is None
    assert names(viewer) == []
    assert not (project / "lock").exists()


def test_the_gui_thread_opens_and_merges_nothing(
    qtbot, session, project, monkeypatch, tmp_path, tiny_model
):
    threads = set()

    def noted(owner, name):
        original = getattr(owner, name)

        def wrapper(*args, **options):
            threads.add(threading.current_thread())
            return original(*args, **options)

        monkeypatch.setattr(owner, name, wrapper)

    for owner, name in (
        (Case, "open_image"),
        (Case, "open_labels"),
        (Project, "lock"),
        (Project, "add_case"),
        (LabelStore, "flush"),
        (LabelStore, "close"),
    ):
        noted(owner, name)
    add_prediction(Project.open(project).case("scan"), 2)
    with qtbot.waitSignal(session.predicted, timeout=20000):
        session.open(project)
    session.create(tmp_path / "second.e2m", tiny_model)
    wait(qtbot, session)
    session.close()
    assert threads
    assert threading.main_thread() not in threads


def test_the_labels_can_be_saved_as_a_file(qtbot, session, project, tmp_path):
    session.open(project)
    wait(qtbot, session)
    session.labels_layer.paint((5, 6, 7), 2)
    data, options, _kind = session.labels_layer.as_layer_data_tuple()
    (written,) = write_labels_layer(str(tmp_path / "out.nii"), data, options)
    saved = open_volume(written)
    np.testing.assert_array_equal(
        np.asarray(saved.data[0]), np.asarray(session.labels_layer.data)
    )


def test_a_disk_that_refuses_is_told(qtbot, session, project):
    session.open(project)
    wait(qtbot, session)
    error = OSError(28, "No space left on device", "journal.jsonl")
    threading.Thread(target=session.store.failed[0], args=(error,)).start()
    with qtbot.waitSignal(session.problem):
        pass
    assert "No space left on device (journal.jsonl)" in session.told.problems[0]


def test_tasks_without_a_project_are_refused_in_a_line(qtbot, session, viewer):
    session.add_image(ImageChoice(title="a", layer=Image(np.zeros((4, 5, 6)))))
    wait(qtbot, session)
    session.show_case("a")
    session.relocate(Path("b"))
    wait(qtbot, session)
    first, second, *rest = session.told.problems
    assert (
        first == second == "no project is open; needed: an open project; open one first"
    )
    assert all("no case is open" in line for line in rest)


@pytest.mark.slow
def test_of_a_killed_viewer_no_finished_stroke_is_lost():
    """Painting with the mouse, then SIGKILL at a random moment; in processes."""
    command = [sys.executable, "-m", "benchmarks.kill_viewer", "--kills", "1", "--json"]
    root = Path(__file__).parents[2]
    told = subprocess.run(
        command, check=True, timeout=240, cwd=root, stdout=subprocess.PIPE
    )
    killed = json.loads(told.stdout)
    assert killed["finished"] > 0
    assert killed["found"] >= killed["saved"] > 0
    # The bar: the stroke in progress; one just ended counts as that.
    assert killed["finished"] - killed["found"] <= (0 if killed["begun"] else 1)


def test_nothing_of_a_closed_session_stays_alive(
    qtbot, session, new_session, make_napari_viewer, project
):
    viewer = make_napari_viewer()
    session = new_session(viewer)
    session.open(project)
    wait(qtbot, session)
    session.labels_layer.paint((5, 6, 7), 2)
    before = {thread.name for thread in threading.enumerate()}
    assert {"journal", "chunks"} <= before
    viewer.close()
    session.close()
    gc.collect()
    assert not {"journal", "chunks"} & {t.name for t in threading.enumerate()}
    assert not (project / "lock").exists()
