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
from e2miseg_napari.protocol import Job


def job_for(client: EngineClient) -> Job:
    return Job(id=client.next_id(), image="a.nii.gz", model="m", output="out")


def submit(client: EngineClient) -> Job:
    job = job_for(client)
    client.submit(job)
    return job


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
    assert [(result.id, result.voxels) for result in results] == [(job.id, {1: 7})]
    assert client.job is None
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


def test_only_one_job_at_a_time(qtbot, fake_client):
    client = fake_client("good")
    submit(client)
    with pytest.raises(RuntimeError, match="still running"):
        submit(client)


def test_cancel_is_answered_and_the_next_job_runs(qtbot, fake_client):
    client = fake_client("good")
    results = record(client.result)
    with qtbot.waitSignal(client.progress):
        submit(client)
    with qtbot.waitSignal(client.cancelled):
        client.cancel()
        client.cancel()  # a second click changes nothing
    assert results == []
    with qtbot.waitSignal(client.result):
        submit(client)


def test_a_worker_deaf_to_cancel_is_ended(qtbot, fake_client, monkeypatch):
    monkeypatch.setattr(engine_client, "_CANCEL_MS", 300)
    client = fake_client("deaf")
    with qtbot.waitSignal(client.started):
        submit(client)
    pid = client.pid
    with qtbot.waitSignal(client.cancelled, timeout=3000):
        client.cancel()
    assert client.job is None
    qtbot.waitUntil(lambda: not psutil.pid_exists(pid), timeout=3000)


@pytest.mark.parametrize(
    ("mode", "reason"), [("dies", "signal 9"), ("exits", "MemoryError: 3 GiB")]
)
def test_a_dead_worker_is_reported_and_replaced(
    qtbot, fake_client, children, mode, reason
):
    client = fake_client(mode)
    lines, failures = record(client.gone), record(client.error)
    with qtbot.waitSignals([client.gone, client.error]):
        job = submit(client)
    (line,), (failed,) = lines, failures
    assert reason in line
    assert "\n" not in line
    assert failed.id == job.id
    assert client.job is None
    qtbot.waitUntil(lambda: not children(), timeout=3000)  # the grandchild, too
    with qtbot.waitSignal(client.progress):
        submit(client)


def test_a_worker_that_cannot_start_says_why(qtbot, fake_client):
    client = fake_client("broken")
    lines = record(client.gone)
    with qtbot.waitSignals([client.gone, client.error]):
        submit(client)
    assert "No module named 'torch'" in lines[0]


def test_a_program_that_does_not_exist(qtbot):
    client = EngineClient(["/nowhere/python"])
    with qtbot.waitSignals([client.gone, client.error]):
        submit(client)
    assert client.job is None


def test_garbage_between_the_lines_is_passed_over(qtbot, fake_client):
    client = fake_client("garbage")
    with qtbot.waitSignal(client.result) as seen:
        submit(client)
    assert seen.args[0].voxels == {1: 7}


def test_another_protocol_is_refused_in_words(qtbot, fake_client, children):
    client = fake_client("newer")
    lines = record(client.gone)
    with qtbot.waitSignals([client.gone, client.error]):
        submit(client)
    assert "protocol 2; needed: 1" in lines[0]
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
    qtbot.waitUntil(lambda: not children(), timeout=8000)


def test_kill_leaves_nothing_when_it_returns(qtbot, fake_client, children, wait_for):
    client = fake_client("stubborn")
    with qtbot.waitSignal(client.ready):
        client.warm_up()
    client.kill()
    assert wait_for(lambda: not children(), 1)


def test_a_job_right_after_a_shutdown_gets_a_fresh_worker(qtbot, fake_client):
    client = fake_client("good")
    with qtbot.waitSignal(client.ready):
        client.warm_up()
    client.shutdown()
    with qtbot.waitSignal(client.result):
        submit(client)


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
