"""The tab "Fine-tune" on a real project, with a worker that only pretends to learn."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import nibabel as nib
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from e2miseg_core.boxes import box_slices
from e2miseg_core.errors import WriteError
from e2miseg_core.io import open_volume
from e2miseg_core.project import ACCEPTED, Case, Edge, Project, ProjectLock
from e2miseg_napari import corrections_watch, finetune_offer
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.finetune_jobs import CurvePoint
from e2miseg_napari.finetune_state import FinetunePhase
from e2miseg_napari.finetuning import Finetuning
from e2miseg_napari.jobs import EdgesJob
from e2miseg_napari.panels.finetune import FinetuneTab
from e2miseg_napari.project_session import ProjectSession
from e2miseg_napari.protocol import FinetuneResult, JobProgress

SHAPE = (40, 60, 70)
WAIT = 20_000


@pytest.fixture(autouse=True)
def quick_counts(monkeypatch):
    monkeypatch.setattr(corrections_watch, "_REST_MS", 50)


@pytest.fixture
def project(tmp_path, tiny_model) -> Project:
    values = np.random.default_rng(1).integers(0, 99, SHAPE[::-1], np.uint8)
    scan = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(values, np.diag([1.5, 1.5, 1.5, 1])), scan)
    project = Project.create(tmp_path / "study.e2m", model=tiny_model)
    project.add_case(open_volume(scan))
    return project


class Desk:
    """A tab with all that stands behind it."""

    def __init__(self, client: EngineClient) -> None:
        self.client = client
        self.session = ProjectSession(ViewerModel())
        self.finetuning = Finetuning(self.session, client)
        self.tab = FinetuneTab(self.session, self.finetuning)
        self.tab.resize(340, 900)
        self.tab.show()

    @property
    def phase(self) -> FinetunePhase:
        return self.finetuning.state.phase

    def leave(self) -> None:
        self.finetuning.leave()
        self.client.kill()
        self.session.close()
        self.tab.close()

    def idle(self) -> bool:
        parts = (self.session, self.finetuning, self.tab, self.tab._watch)
        return not any(part._background.busy for part in parts)


@pytest.fixture
def open_desk(qtbot, fake_client) -> Iterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def make(mode: str, project: Project | None = None) -> Desk:
        desk = Desk(fake_client(mode))
        desks.append(desk)
        if project is not None:
            open_project(qtbot, desk, project)
        return desk

    yield make
    for desk in desks:  # not qtbot's: it would close them before their threads end
        qtbot.waitUntil(desk.idle, timeout=WAIT)
        desk.leave()
        desk.tab.deleteLater()


def open_project(qtbot, desk: Desk, project: Project) -> None:
    with qtbot.waitSignal(desk.session.opened, timeout=WAIT):
        desk.session.open(project.path)


def review(case: Case, n_corrected: int, n_fine: int = 0, store=None) -> None:
    """Decide on edges; all their voxels are vouched for."""
    log = case.review()
    authority = zarr.open_array(str(case.authority_path / "0"), mode="r+")
    verdicts = ["corrected"] * n_corrected + ["fine"] * n_fine
    for number, verdict in enumerate(verdicts):
        start = 3 * number
        edge = Edge(
            number=number + 1,
            box=((start, start + 9), (20, 29), (20, 29)),
            centre=(start + 4, 24, 24),
            expected_wrong=1.0,
            gain=0.01,
            classes=(1, 2),
        )
        log.append(edge, verdict, prediction=1)
        if store is None:
            authority[box_slices(edge.box)] = ACCEPTED
        else:
            store.accept(edge.box)


def ready(qtbot, open_desk, project: Project, mode: str) -> Desk:
    """A desk with enough corrections."""
    review(project.case("scan"), 4, 2)
    desk = open_desk(mode, project)
    qtbot.waitUntil(desk.tab.start.isEnabled, timeout=WAIT)
    return desk


def click(qtbot, button) -> None:
    assert button.isVisible()
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_for_phase(qtbot, desk: Desk, phase: FinetunePhase) -> None:
    qtbot.waitUntil(lambda: desk.phase == phase, timeout=WAIT)


def wait_for_step(qtbot, desk: Desk, step: int) -> None:
    qtbot.waitUntil(lambda: desk.finetuning.state.done >= step, timeout=WAIT)


def commands(project: Project) -> list[dict]:
    (path,) = (project.path / "jobs").glob("*/commands.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def titles(desk: Desk) -> list[str]:
    rows = desk.tab.versions._list
    return [
        rows.itemAt(n).widget().layout().itemAt(0).itemAt(0).widget().text()
        for n in range(rows.count())
    ]


def test_without_a_project_it_says_where_to_begin(open_desk):
    tab = open_desk("good").tab
    assert not tab.start.isEnabled()
    assert "tab Predict" in tab.corrections.summary.text()
    assert not tab.versions.isVisible()


def test_it_counts_what_is_missing_until_it_can_start(qtbot, open_desk, project):
    case = project.case("scan")
    desk = open_desk("good", project)
    text = desk.tab.corrections.summary.text
    assert text().startswith("Nothing so far; fine-tuning needs 6. Decide on 6 ")
    store = desk.session.store
    review(case, 3, 1, store)
    store.write((slice(0, 3), slice(0, 3), slice(0, 3)), 1)  # a place, 27 voxels
    qtbot.waitUntil(lambda: text().startswith("5 places"), timeout=WAIT)
    assert "so far (1 painted outside reviewed edges); fine-tuning needs 6" in text()
    assert "Decide on 1 more uncertain edge in the tab Review" in text()
    assert not desk.tab.start.isEnabled()
    store.write((0, 5, slice(50, 60)), 1)  # too few for a place, but counted
    qtbot.waitUntil(lambda: row_of(desk) == ["scan", "3", "1", "37"], timeout=WAIT)
    review(case, 5, store=store)
    store.write((0, 6, slice(50, 52)), 1)
    qtbot.waitUntil(desk.tab.start.isEnabled, timeout=WAIT)
    assert "About 2 of them are kept back to test the new model" in text()


def row_of(desk: Desk) -> list[str]:
    grid = desk.tab.corrections._grid
    cells = [grid.itemAtPosition(1, column) for column in range(4)]
    return [cell.widget().text() for cell in cells if cell is not None]


def test_a_better_model_is_kept_and_offers_to_predict_again(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "good")
    tab = desk.tab
    click(qtbot, tab.start)
    assert not tab.start.isVisible()
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT):
        wait_for_step(qtbot, desk, 3)
        assert tab.line.text().startswith("step ")
        assert " of 20, " in tab.line.text()
        assert tab.progress.maximum() == 20
    assert "Kept: version 1 is in use now" in tab.outcome.title.text()
    assert "✓" in tab.outcome.title.text()
    assert tab.outcome.sentence.text() == "20 steps."
    grid = tab.outcome._grid
    figures = [
        (grid.itemAtPosition(n, 0).widget().text(), grid.itemAtPosition(n, 1).widget())
        for n in range(grid.rowCount())
    ]
    assert [(name, value.text()) for name, value in figures] == [
        ("Wrong voxels, held out", "1,180 → 700"),
        ("Sure that it is better", "97 %"),
        ("Confident labels changed", "0.12 %"),
    ]
    qtbot.waitUntil(lambda: len(titles(desk)) == 2, timeout=WAIT)
    assert "<b>Version 1</b>" in titles(desk)[0]
    assert "in use" in titles(desk)[0]
    assert "in use" not in titles(desk)[1]
    with qtbot.waitSignal(desk.finetuning.predict_again_asked):
        click(qtbot, tab.outcome.button)
    assert tab.start.isVisible()
    (command,) = commands(project)
    assert (command["resume"], command["project"]) == (False, str(project.path))


def test_the_curve_shows_loss_and_held_out_errors(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "good")
    tab = desk.tab
    qtbot.waitUntil(lambda: tab.curve is not None, timeout=WAIT)
    assert not tab.curve.isVisible()
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT):
        click(qtbot, tab.start)
    qtbot.waitUntil(lambda: len(tab.curve.loss.getData()[0]) == 20)
    assert tab.curve.isVisible()
    steps, wrong = tab.curve.wrong.getData()
    assert steps.tolist() == [5, 10, 15, 20]
    assert wrong.tolist() == [175, 150, 125, 100]
    losses = tab.curve.loss.getData()[1]
    # The running mean of 1 and 1/2 with weights 0.85 and 1.
    assert losses[:2].tolist() == pytest.approx([1.0, (0.85 + 0.5) / 1.85])


def test_the_curve_begins_with_the_model_as_it_was(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "holds")
    tab = desk.tab
    qtbot.waitUntil(lambda: tab.curve is not None, timeout=WAIT)
    click(qtbot, tab.start)
    wait_for_step(qtbot, desk, 7)
    name = next(iter(desk.client.jobs))
    run = desk.finetuning._run
    run.points.clear()  # as if the worker had only begun
    before = {"held_out_wrong": 240}
    for _ in range(2):  # a worker that was started again tells it again
        report(desk, name, 0, before)
    assert not tab.finish.isEnabled()  # nothing is learned yet
    report(desk, name, 5, {"loss": 0.5, "held_out_wrong": 180})
    assert tab.finish.isEnabled()
    tab._draw()
    steps, wrong = tab.curve.wrong.getData()
    assert (steps.tolist(), wrong.tolist()) == ([0, 5], [240, 180])
    assert tab.curve.loss.getData()[0].tolist() == [5]
    assert tab.curve.before.isVisible()
    assert tab.curve.before.value() == 240
    tab.curve.show_points([CurvePoint(step=1, loss=0.5)], total=20)
    assert not tab.curve.before.isVisible()
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT):
        click(qtbot, tab.finish)


def report(desk: Desk, name: str, done: int, details: dict) -> None:
    step = JobProgress(
        id=name, done=done, total=20, stage="training", seconds_left=9, details=details
    )
    desk.client.progress.emit(step)


def test_the_axes_reach_to_every_point_also_below_zero(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "good")
    qtbot.waitUntil(lambda: desk.tab.curve is not None, timeout=WAIT)
    curve = desk.tab.curve
    points = [
        CurvePoint(step=1, loss=-0.2),
        CurvePoint(step=2, loss=-0.9, wrong=4000),
        CurvePoint(step=3, loss=-0.9, wrong=0),
    ]
    curve.show_points(points, total=150)
    (first, last), (low, high) = curve._item.viewRange()
    assert first < 1
    assert last > 150
    _, losses = curve.loss.getData()
    assert low < losses.min() < losses.max() < high
    assert losses.max() < 0
    _, (bottom, top) = curve._second.viewRange()
    assert bottom == 0
    assert top > 4000


def test_a_model_that_is_no_better_is_refused_in_words(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "refuses")
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT):
        click(qtbot, desk.tab.start)
    outcome = desk.tab.outcome
    assert "✕" in outcome.title.text()
    assert "Not kept: the model stays as it was" in outcome.title.text()
    assert outcome.sentence.text() == "No better."
    assert not outcome.button.isVisible()
    qtbot.waitUntil(lambda: len(titles(desk)) == 2, timeout=WAIT)
    assert titles(desk)[0].startswith("A try to improve version 0")
    assert "in use" in titles(desk)[1]


def refusal(**figures) -> FinetuneResult:
    sentence = "Not kept: only 4 % fewer wrong voxels, needed 5 % (158 -> 151 wrong)."
    given = {"wrong_before": 158, "wrong_after": 151, "better_share": 0.72} | figures
    return FinetuneResult(
        id="f1", kept=False, sentence=sentence, figures=given, version=None
    )


def values(desk: Desk) -> list[str]:
    grid = desk.tab.outcome._grid
    return [grid.itemAtPosition(n, 1).widget().text() for n in range(grid.rowCount())]


def test_the_card_says_what_failed_and_what_was_needed(open_desk):
    desk = open_desk("good")
    allowed = {"wrong_allowed": 150, "better_needed": 0.9}
    elsewhere = {"changed": 30, "confident": 1000, "changed_allowed": 20.0}
    desk.finetuning.ended.emit(refusal(**allowed, **elsewhere))
    wrong, sure, changed = values(desk)
    assert "✕ 158 → 151, needed 150" in wrong
    assert "✕ 72 %, needed 90 %" in sure
    assert "✕ 3.00 %, allowed 2.00 %" in changed
    passed = {"better_share": 0.95, "better_needed": 0.9, "changed_allowed": 30.0}
    desk.finetuning.ended.emit(refusal(**(elsewhere | passed)))
    assert values(desk)[:3] == ["158 → 151", "95 %, needed 90 %", "3.00 %"]
    assert "→ 151 wrong" in desk.tab.outcome.sentence.text()


def test_the_tested_model_is_marked_where_it_is_not_the_trained_one(qtbot, open_desk):
    desk = open_desk("good")
    tab = desk.tab
    qtbot.waitUntil(lambda: tab.curve is not None, timeout=WAIT)
    desk.finetuning.points = [
        CurvePoint(step=0, wrong=158),
        CurvePoint(step=20, loss=0.1, wrong=170),
    ]
    desk.finetuning.ended.emit(refusal(share=0.5))
    tab._draw()
    steps, wrong = tab.curve.tested.getData()
    assert (steps.tolist(), wrong.tolist()) == ([20], [151])
    assert tab.outcome.way.isVisible()
    assert "50 % of the way from the old model" in tab.outcome.way.text()
    desk.finetuning.ended.emit(refusal(share=1.0))
    assert not tab.outcome.way.isVisible()
    desk.finetuning.curve_changed.emit()  # another run begins
    tab._draw()
    marked, _ = tab.curve.tested.getData()
    assert marked is None or not len(marked)


def test_the_list_repeats_no_verdict_and_the_version_in_use_is_told(
    qtbot, open_desk, project
):
    result = refusal()
    project.refuse_version(figures=result.figures, sentence=result.sentence)
    desk = open_desk("good", project)
    qtbot.waitUntil(lambda: len(titles(desk)) == 2, timeout=WAIT)
    row = desk.tab.versions._list.itemAt(0).widget()
    texts = [label.text() for label in row.findChildren(QLabel)]
    assert texts[1:] == ["Not kept: 158 → 151 wrong voxels"]
    assert "(158 → 151 wrong)" in row.toolTip()
    assert "Version 0" in titles(desk)[1]
    assert "in use" in titles(desk)[1]


def test_the_table_says_which_voxels_it_counts(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "good")
    head = desk.tab.corrections._grid.itemAtPosition(0, 3).widget()
    assert head.text() == "drawn"
    assert head.toolTip().startswith("Voxels that you have drawn by hand")


def test_pause_resume_and_finish_now(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "holds")
    tab = desk.tab
    click(qtbot, tab.start)
    wait_for_step(qtbot, desk, 7)
    click(qtbot, tab.pause)
    wait_for_phase(qtbot, desk, FinetunePhase.PAUSED)
    assert tab.line.text() == "step 8 of 20, paused"
    assert tab.pause.text() == "Resume"
    with qtbot.waitSignal(desk.client.resumed, timeout=WAIT):
        click(qtbot, tab.pause)
    assert tab.pause.text() == "Pause"
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT) as seen:
        click(qtbot, tab.finish)
    assert seen.args[0].figures["steps"] < 20


def test_finish_now_works_in_a_pause_too(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "holds")
    click(qtbot, desk.tab.start)
    wait_for_step(qtbot, desk, 7)
    click(qtbot, desk.tab.pause)
    wait_for_phase(qtbot, desk, FinetunePhase.PAUSED)
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT) as seen:
        click(qtbot, desk.tab.finish)
    assert seen.args[0].figures["steps"] == 8


@pytest.mark.parametrize(("seconds", "answer"), [(59, None), (61, False), (61, True)])
def test_discard_asks_only_for_more_than_a_minute(
    qtbot, open_desk, project, seconds, answer
):
    desk = ready(qtbot, open_desk, project, "holds")
    now, asked = [0.0], []
    desk.finetuning.clock = lambda: now[0]
    desk.tab.ask_discard = lambda: asked.append(1) or answer
    click(qtbot, desk.tab.start)
    wait_for_step(qtbot, desk, 7)
    (folder,) = (project.path / "jobs").iterdir()
    now[0] = seconds
    click(qtbot, desk.tab.discard)
    assert bool(asked) == (answer is not None)
    if answer is False:
        assert desk.phase == FinetunePhase.RUNNING
        return
    wait_for_phase(qtbot, desk, FinetunePhase.IDLE)
    qtbot.waitUntil(lambda: not folder.exists(), timeout=WAIT)
    message = desk.tab.message.text
    qtbot.waitUntil(lambda: "Discarded" in message.text(), timeout=WAIT)
    assert desk.tab.start.isVisible()
    assert project.version.number == 0


def test_pauses_are_no_work(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "holds")
    now = [0.0]
    desk.finetuning.clock = lambda: now[0]
    click(qtbot, desk.tab.start)
    wait_for_step(qtbot, desk, 7)
    now[0] = 20.0
    click(qtbot, desk.tab.pause)
    wait_for_phase(qtbot, desk, FinetunePhase.PAUSED)
    now[0] = 5000.0
    assert not desk.finetuning.worth_asking


def test_a_dead_worker_is_started_again_and_goes_on(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "dies-once")
    notices: list[str] = []
    desk.finetuning.notice.connect(notices.append)
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT):
        click(qtbot, desk.tab.start)
    assert notices == [
        "The engine stopped and was started again; the fine-tuning goes on from "
        "step 10 (restart 1 of 3)."
    ]
    assert [command["resume"] for command in commands(project)] == [False, True]
    assert [point.step for point in desk.finetuning.points] == list(range(1, 21))


def test_a_worker_that_dies_again_and_again_is_told_and_can_be_resumed(
    qtbot, open_desk, project
):
    desk = ready(qtbot, open_desk, project, "dies")
    with qtbot.waitSignal(desk.finetuning.problem, timeout=WAIT) as seen:
        click(qtbot, desk.tab.start)
    assert "stopped unexpectedly" in seen.args[0].line
    assert "it has stopped 4 times" in seen.args[0].line
    assert len(commands(project)) == 4
    assert desk.tab.resume_old.isVisible()
    assert desk.tab.message.isVisible()


def test_a_user_error_leaves_nothing_behind(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "user-error")
    click(qtbot, desk.tab.start)
    message = desk.tab.message.text
    qtbot.waitUntil(lambda: message.text() == "two lines; needed: one", timeout=WAIT)
    assert desk.phase == FinetunePhase.IDLE
    assert desk.tab.start.isVisible()
    assert list((project.path / "jobs").iterdir()) == []


def test_closing_in_the_middle_leaves_a_job_to_resume(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "holds")
    click(qtbot, desk.tab.start)
    wait_for_step(qtbot, desk, 7)
    qtbot.waitUntil(desk.idle, timeout=WAIT)
    desk.leave()
    again = open_desk("good", project)
    began = again.finetuning.unfinished.started
    assert again.tab.line.isVisible()
    assert (
        again.tab.line.text()
        == f"The fine-tuning of {began:%H:%M} stopped at step 5 of 20."
    )
    assert not again.tab.start.isVisible()
    with qtbot.waitSignal(again.finetuning.ended, timeout=WAIT) as seen:
        click(qtbot, again.tab.resume_old)
        assert [point.step for point in again.finetuning.points] == [1, 2, 3, 4, 5]
    assert seen.args[0].figures["steps"] == 20
    assert [command["resume"] for command in commands(project)] == [False, True]


def test_what_could_be_resumed_can_be_discarded(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "holds")
    click(qtbot, desk.tab.start)
    wait_for_step(qtbot, desk, 7)
    qtbot.waitUntil(desk.idle, timeout=WAIT)
    desk.leave()
    again = open_desk("good", project)
    (folder,) = (project.path / "jobs").iterdir()
    click(qtbot, again.tab.discard)
    qtbot.waitUntil(lambda: not folder.exists(), timeout=WAIT)
    assert again.tab.start.isVisible()


def begun(project: Project):
    folder = project.new_job_folder()
    (folder / "request.json").write_text(json.dumps({"settings": {"steps": 20}}))
    return folder


def test_a_job_that_runs_elsewhere_is_offered_when_it_has_stopped(
    qtbot, open_desk, project, monkeypatch
):
    monkeypatch.setattr(finetune_offer, "_LOOK_MS", 20)
    with ProjectLock(begun(project)):
        desk = open_desk("good", project)
        assert desk.finetuning.unfinished is None
        assert not desk.tab.resume_old.isVisible()
    qtbot.waitUntil(desk.tab.resume_old.isVisible, timeout=WAIT)


def test_a_job_that_came_to_its_end_is_not_thrown_away(qtbot, open_desk, project):
    folder = begun(project)
    desk = open_desk("good", project)
    (folder / "result.json").write_text("{}")
    with qtbot.waitSignal(desk.finetuning.versions_changed, timeout=WAIT):
        click(qtbot, desk.tab.discard)
    assert "It had ended before" in desk.tab.message.text.text()
    assert (folder / "result.json").exists()


def test_a_job_that_somebody_has_resumed_is_not_thrown_away(qtbot, open_desk, project):
    folder = begun(project)
    desk = open_desk("good", project)
    with (
        ProjectLock(folder),
        qtbot.waitSignal(desk.finetuning.problem, timeout=WAIT) as seen,
    ):
        click(qtbot, desk.tab.discard)
    assert "at work on the fine-tuning" in seen.args[0].line
    assert folder.exists()


def test_another_project_leaves_the_job_to_be_resumed(
    qtbot, open_desk, project, tiny_model, tmp_path
):
    desk = ready(qtbot, open_desk, project, "holds")
    click(qtbot, desk.tab.start)
    wait_for_step(qtbot, desk, 7)
    other = Project.create(tmp_path / "other.e2m", model=tiny_model)
    open_project(qtbot, desk, other)
    wait_for_phase(qtbot, desk, FinetunePhase.IDLE)
    assert desk.tab.start.isVisible()
    qtbot.waitUntil(lambda: not desk.client.jobs, timeout=WAIT)
    open_project(qtbot, desk, project)
    assert desk.finetuning.unfinished is not None


def test_one_click_goes_back_to_an_older_version(qtbot, open_desk, project):
    project.add_version(project.version.path, figures={}, sentence="Kept: better.")
    desk = open_desk("good", project)
    versions = desk.tab.versions
    qtbot.waitUntil(lambda: list(versions.buttons) == [0], timeout=WAIT)
    qtbot.waitUntil(versions.buttons[0].isVisible, timeout=WAIT)
    click(qtbot, versions.buttons[0])
    qtbot.waitUntil(lambda: list(versions.buttons) == [1], timeout=WAIT)
    assert project.version.number == 0
    assert "Version 0 is in use now" in desk.tab.outcome.title.text()
    with qtbot.waitSignal(desk.finetuning.predict_again_asked):
        click(qtbot, desk.tab.outcome.button)


def test_a_version_that_cannot_be_used_is_not_said_to_be(
    qtbot, open_desk, project, monkeypatch
):
    project.add_version(project.version.path, figures={}, sentence="Kept: better.")
    desk = open_desk("good", project)
    versions, outcome = desk.tab.versions, desk.tab.outcome
    qtbot.waitUntil(lambda: list(versions.buttons) == [0], timeout=WAIT)
    qtbot.waitUntil(versions.buttons[0].isVisible, timeout=WAIT)
    gate = threading.Event()

    def refused(_project, _number):
        gate.wait(20)
        raise WriteError(found="no room", needed="some", do="free space")

    monkeypatch.setattr(Project, "use_version", refused)
    click(qtbot, versions.buttons[0])
    assert not outcome.isVisible()  # nothing is on disk yet
    gate.set()
    message = desk.tab.message
    qtbot.waitUntil(message.isVisible, timeout=WAIT)
    assert "no room" in message.text.text()
    assert not outcome.isVisible()
    assert list(versions.buttons) == [0]


def test_an_interactive_job_in_between_is_told(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "holds")
    click(qtbot, desk.tab.start)
    wait_for_step(qtbot, desk, 7)
    name = desk.client.next_id()
    with qtbot.waitSignal(desk.client.started, timeout=WAIT):
        desk.client.submit(EdgesJob(id=name, project=str(project.path), case="scan"))
    assert desk.tab.line.text() == "step 7 of 20, waits while another job runs"
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT):
        click(qtbot, desk.tab.finish)


def test_one_can_paint_while_it_trains(qtbot, open_desk, project):
    desk = ready(qtbot, open_desk, project, "holds")
    click(qtbot, desk.tab.start)
    wait_for_step(qtbot, desk, 7)
    labels = desk.session.labels_layer
    labels.brush_size = 1
    before = row_of(desk)
    for x in range(30):
        labels.paint((30, 50, x), 2)
    assert desk.phase == FinetunePhase.RUNNING
    assert desk.tab.line.text().startswith("step 7 of 20")
    shown = np.asarray(labels.data[0][30, 50, :30])
    assert shown.tolist() == [2] * 30
    qtbot.waitUntil(lambda: row_of(desk)[-1] == "30", timeout=WAIT)
    assert row_of(desk)[:-1] == before[:-1]
    with qtbot.waitSignal(desk.finetuning.ended, timeout=WAIT):
        click(qtbot, desk.tab.finish)
    assert "Kept: version 1 is in use now" in desk.tab.outcome.title.text()
    assert np.asarray(labels.data[0][30, 50, :30]).tolist() == [2] * 30


def test_what_draws_the_curve_is_not_imported_before_it_is_needed():
    script = (
        "import sys, e2miseg_napari.panels.finetune; "
        "sys.exit('pyqtgraph' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
