"""The client against a worker that behaves, and against several that do not."""

import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from e2miseg_napari import engine_client
from e2miseg_napari.engine_client import EngineClient, worker_command
from e2miseg_napari.jobs import EdgesJob, FinetuneJob, Job, PredictJob
from e2miseg_napari.protocol import EdgesResult, FinetuneResult, PredictResult
from e2miseg_napari.worker_process import WorkerProcess


def submit(client: EngineClient, kind: str = "predict") -> str:
    """Submit a job of a kind, and return its name."""
    name, project = client.next_id(), "/a/b.e2m"
    jobs: dict[str, Job] = {
        "predict": PredictJob(id=name, image="a.nii.gz", model="m", output="out"),
        "case": PredictJob(id=name, project=project, case="one"),
        "edges": EdgesJob(id=name, project=project, case="one"),
        "finetune": FinetuneJob(id=name, project=project),
    }
    client.submit(jobs[kind])
    return name


def record(signal) -> list:
    heard: list = []
    signal.connect(heard.append)
    return heard


def test_a_job_runs_from_ready_to_its_result(qtbot, fake_client):
    client = fake_client("good")
    steps, results = record(client.progress), record(client.result)
    with qtbot.waitSignals([client.ready, client.started, client.result]):
        job = submit(client)
    assert [step.done for step in steps] == list(range(1, 21))
    assert steps[4].seconds_left == pytest.approx(0.3)
    assert [(result.id, result.voxels) for result in results] == [(job, {1: 7})]
    assert not client.jobs
    assert client.info is not None
    assert client.info.device == "cpu"


def test_the_worker_stays_for_the_next_job(qtbot, fake_client):
    client = fake_client("good")
    pids = []
    for _ in range(2):
        with qtbot.waitSignal(client.result):
            submit(client)
        pids.append(client.pid)
    assert pids[0] == pids[1]


def test_the_worker_leads_its_own_session(qtbot, fake_client):
    client = fake_client("good")
    with qtbot.waitSignal(client.ready):
        client.warm_up()
    assert os.getsid(client.pid) == client.pid  # Ctrl+C in a terminal passes it by


def test_each_kind_of_job_comes_back_with_its_own_result(qtbot, fake_client):
    client = fake_client("good")
    results = record(client.result)
    names = {kind: submit(client, kind) for kind in ("case", "edges", "finetune")}
    assert list(client.jobs) == list(names.values())
    qtbot.waitUntil(lambda: len(results) == 3)
    found = {result.id: result for result in results}
    predicted = found[names["case"]]
    assert isinstance(predicted, PredictResult)
    assert (predicted.prediction, predicted.edges) == (2, 3)
    assert found[names["edges"]] == EdgesResult(id=names["edges"], edges=3)
    tuned = found[names["finetune"]]
    assert isinstance(tuned, FinetuneResult)
    assert (tuned.kept, tuned.sentence) == (True, "Kept: 20 steps.")
    assert (tuned.version, tuned.figures["steps"]) == (1, 20)
    assert not client.jobs


def test_jobs_side_by_side_keep_their_events_apart(qtbot, fake_client):
    client = fake_client("good")
    steps, results = record(client.progress), record(client.result)
    names = [submit(client) for _ in range(3)]
    qtbot.waitUntil(lambda: len(results) == 3)
    for name in names:
        own = [step.done for step in steps if step.id == name]
        assert own == list(range(1, 21))


def test_a_name_is_open_once(fake_client):
    client = fake_client("good")
    name = submit(client)
    with pytest.raises(RuntimeError, match="still open"):
        client.submit(PredictJob(id=name))


def test_only_the_job_that_is_cancelled_stops(qtbot, fake_client):
    client = fake_client("good")
    cancelled, results = record(client.cancelled), record(client.result)
    stays, goes = submit(client), submit(client)
    qtbot.waitSignal(client.progress).wait()
    client.cancel(goes)
    client.cancel(goes)  # a second click changes nothing
    qtbot.waitUntil(lambda: bool(results))
    assert [event.id for event in cancelled] == [goes]
    assert [event.id for event in results] == [stays]
    with qtbot.waitSignal(client.result):
        submit(client)


def test_words_about_a_job_that_has_ended_go_nowhere(qtbot, fake_client, monkeypatch):
    sent: list[str] = []
    send = WorkerProcess.send

    def listen(worker, message):
        sent.append(message["command"])
        send(worker, message)

    monkeypatch.setattr(WorkerProcess, "send", listen)
    client = fake_client("good")
    with qtbot.waitSignal(client.result):
        name = submit(client)
    for tell in (client.cancel, client.pause, client.resume, client.finish):
        tell(name)
    with qtbot.waitSignal(client.result) as seen:
        other = submit(client)
    assert seen.args[0].id == other
    assert sent == ["predict", "predict"]


def test_a_fine_tuning_rests_goes_on_and_finishes_early(qtbot, fake_client):
    client = fake_client("good")
    steps = record(client.progress)
    with qtbot.waitSignal(client.progress):
        name = submit(client, "finetune")
    with qtbot.waitSignal(client.paused) as seen:
        client.pause(name)
    assert seen.args[0].id == name
    before = len(steps)
    with qtbot.waitSignal(client.result):  # an interactive job goes on meanwhile
        submit(client, "edges")
    assert len([step for step in steps if step.id == name]) == before
    with qtbot.waitSignal(client.resumed):
        client.resume(name)
    with qtbot.waitSignal(client.result) as done:
        client.finish(name)
    assert done.args[0].figures["steps"] < 20
    assert steps[0].details == {"loss": 1.0}


def test_a_paused_job_can_be_cancelled(qtbot, fake_client):
    client = fake_client("good")
    with qtbot.waitSignal(client.progress):
        name = submit(client, "finetune")
    with qtbot.waitSignal(client.paused):
        client.pause(name)
    results = record(client.result)
    with qtbot.waitSignal(client.cancelled) as seen:
        client.cancel(name)
    assert seen.args[0].id == name
    assert not client.jobs
    assert results == []


def test_abandoning_a_job_ends_the_engine_and_tells_the_others(
    qtbot, fake_client, children
):
    client = fake_client("good")
    cancelled, errors = record(client.cancelled), record(client.error)
    left, other = submit(client, "finetune"), submit(client)
    with qtbot.waitSignal(client.progress):
        pass
    client.abandon(left)
    client.abandon(left)  # it is no job any more
    assert [event.id for event in cancelled] == [other]
    assert not client.jobs
    qtbot.waitUntil(lambda: not children(), timeout=3000)
    with qtbot.waitSignal(client.result):
        submit(client)
    assert errors == []


def test_a_result_of_another_kind_is_the_engines_bug(qtbot, fake_client):
    client = fake_client("confused")
    results = record(client.result)
    with qtbot.waitSignal(client.error) as seen:
        submit(client, "edges")
    assert seen.args[0].kind == "bug"
    assert "FinetuneResult, not EdgesResult" in seen.args[0].message
    assert results == []
    assert not client.jobs


def test_an_error_without_a_name_is_that_of_the_only_job(qtbot, fake_client):
    client = fake_client("nameless")
    with qtbot.waitSignal(client.error) as seen:
        name = submit(client)
    assert (seen.args[0].id, seen.args[0].message) == (name, "who is it?")
    assert not client.jobs


def test_an_error_without_a_name_ends_none_of_several(qtbot, fake_client):
    client = fake_client("nameless")
    warnings = record(client.warning)
    names = [submit(client), submit(client)]
    qtbot.waitUntil(lambda: len(warnings) == 2)
    assert [warning.message for warning in warnings] == ["who is it?"] * 2
    assert list(client.jobs) == names


def test_a_worker_deaf_to_cancel_is_ended(qtbot, fake_client, monkeypatch):
    monkeypatch.setattr(engine_client, "_CANCEL_MS", 300)
    client = fake_client("deaf")
    failed = record(client.error)
    with qtbot.waitSignal(client.started):
        name = submit(client)
    other = submit(client, "finetune")
    pid = client.pid
    with qtbot.waitSignals([client.cancelled, client.error], timeout=3000):
        client.cancel(name)
    assert [(event.id, event.engine_died) for event in failed] == [(other, True)]
    assert not client.jobs
    qtbot.waitUntil(lambda: not psutil.pid_exists(pid), timeout=3000)


def test_a_job_that_only_waits_is_cancelled_without_ending_the_engine(
    qtbot, fake_client, monkeypatch
):
    monkeypatch.setattr(engine_client, "_CANCEL_MS", 300)
    client = fake_client("in-turn")  # tells of a cancellation when its turn has come
    with qtbot.waitSignal(client.started):
        runs = submit(client)
    waits, pid = submit(client, "edges"), client.pid
    with qtbot.waitSignal(client.cancelled) as seen:
        client.cancel(waits)
    assert seen.args[0].id == waits
    assert list(client.jobs) == [runs]
    assert client.pid == pid


@pytest.mark.parametrize(
    ("mode", "reason"), [("dies", "signal 9"), ("exits", "MemoryError: 3 GiB")]
)
def test_a_dead_worker_is_reported_and_replaced(
    qtbot, fake_client, children, mode, reason
):
    client = fake_client(mode)
    lines, failures = record(client.gone), record(client.error)
    names = [submit(client), submit(client, "finetune")]
    qtbot.waitUntil(lambda: len(failures) == 2)
    assert [failed.id for failed in failures] == names
    for failed in failures:
        assert failed.engine_died
        assert reason in failed.message
        assert "\n" not in failed.message
    assert lines == []  # the jobs' errors have said it
    assert not client.jobs
    qtbot.waitUntil(lambda: not children(), timeout=3000)  # the grandchild, too
    with qtbot.waitSignal(client.progress):
        submit(client)


def test_a_worker_that_cannot_start_says_why(qtbot, fake_client):
    client = fake_client("broken")
    with qtbot.waitSignal(client.error) as seen:
        submit(client)
    assert "No module named 'torch'" in seen.args[0].message


def test_without_a_job_the_engine_tells_its_end_itself(qtbot, fake_client):
    client = fake_client("broken")
    with qtbot.waitSignal(client.gone) as seen:
        client.warm_up()
    assert "No module named 'torch'" in seen.args[0]


def test_a_program_that_does_not_exist(qtbot):
    client = EngineClient(["/nowhere/python"])
    with qtbot.waitSignal(client.error) as seen:
        name = submit(client)
    assert seen.args[0].id == name
    assert not client.jobs


def test_garbage_between_the_lines_is_passed_over(qtbot, fake_client):
    client = fake_client("garbage")
    with qtbot.waitSignal(client.result) as seen:
        submit(client)
    assert seen.args[0].voxels == {1: 7}


def test_another_protocol_is_refused_in_words(qtbot, fake_client, children):
    client = fake_client("newer")
    with qtbot.waitSignal(client.error) as seen:
        submit(client)
    assert "protocol 3; needed: 2" in seen.args[0].message
    assert not seen.args[0].engine_died  # another start would not help
    qtbot.waitUntil(lambda: not children(), timeout=5000)


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [("user-error", "user", "two lines; needed: one"), ("bug", "bug", "boom")],
)
def test_errors_arrive_as_one_line(qtbot, fake_client, mode, kind, message):
    client = fake_client(mode)
    with qtbot.waitSignal(client.error) as seen:
        submit(client)
    failed = seen.args[0]
    assert (failed.kind, failed.message) == (kind, message)
    assert bool(failed.traceback) == (kind == "bug")


def test_a_polite_shutdown_lets_the_worker_end_itself(qtbot, fake_client, children):
    client = fake_client("good")
    with qtbot.waitSignal(client.ready):
        client.warm_up()
    with qtbot.assertNotEmitted(client.gone):
        client.shutdown()
        qtbot.waitUntil(lambda: not children(), timeout=3000)
    assert client.pid is None


def test_a_stubborn_worker_and_its_child_are_ended(qtbot, fake_client, children):
    client = fake_client("stubborn")
    with qtbot.waitSignal(client.ready):
        client.warm_up()
    assert len(children()) == 2
    client.shutdown()
    assert client.pid is None
    assert len(children()) == 2  # it is asked first
    qtbot.waitUntil(lambda: not children(), timeout=8000)


def test_kill_leaves_nothing_when_it_returns(qtbot, fake_client, children, wait_for):
    client = fake_client("stubborn")
    with qtbot.waitSignal(client.ready):
        client.warm_up()
    client.kill()
    assert wait_for(lambda: not children(), 1)


def test_a_job_right_after_a_shutdown_gets_a_fresh_worker(qtbot, fake_client):
    client = fake_client("good")
    failures = record(client.error)
    with qtbot.waitSignal(client.ready):
        client.warm_up()
    first = client.pid
    client.shutdown()
    with qtbot.waitSignal(client.result) as seen:
        name = submit(client)
    assert seen.args[0].id == name
    assert client.pid not in {None, first}
    assert failures == []


VIEWER = """
    import sys
    from qtpy.QtCore import QCoreApplication, QTimer
    from e2miseg_napari.engine_client import EngineClient
    application = QCoreApplication([])
    client = EngineClient([sys.executable, "-u", *sys.argv[1:3]])
    client.ready.connect(lambda _: print(client.pid, flush=True))
    client.warm_up()
    if sys.argv[3] == "quits":
        client.ready.connect(lambda _: QTimer.singleShot(100, application.quit))
    application.exec()
"""


@pytest.mark.parametrize(("mode", "end"), [("stubborn", "quits"), ("good", "killed")])
def test_no_worker_outlives_its_viewer(fake_worker, wait_for, mode, end):
    viewer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(VIEWER), str(fake_worker), mode, end],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert viewer.stdout is not None
    with viewer:
        pid = int(viewer.stdout.readline())
        worker = psutil.Process(pid)
        family = [worker, *worker.children(recursive=True)]
        if end == "killed":
            viewer.send_signal(signal.SIGKILL)
        viewer.wait(20)
    assert wait_for(lambda: not any(p.is_running() for p in family), 3)


def test_the_real_worker_is_started_without_the_current_folder_on_its_path():
    assert worker_command()[1:] == ["-P", "-u", "-m", "e2miseg_core.worker"]
