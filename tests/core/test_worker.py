"""The worker process, spoken to as the plugin does."""

import io
import json
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zarr

from e2miseg_core.inference.prediction import predict
from e2miseg_core.io import open_volume, write_image
from e2miseg_core.model import load_model
from e2miseg_core.project import Project
from e2miseg_core.training.finetune import FinetuneControl
from e2miseg_core.volume import Volume
from e2miseg_core.worker.jobs import Command, Event, Jobs
from e2miseg_core.worker.server import Worker, compute_threads


class Client:
    """A worker and what it said."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "e2miseg_core.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, **command: Any) -> None:
        self.say(json.dumps(command))

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, *names: str) -> list[dict[str, Any]]:
        """Every event up to the first of these names."""
        assert self.process.stdout is not None
        events = []
        for line in self.process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] in names:
                return events
        raise AssertionError((names, events, self.process.stderr.read()))  # type: ignore[union-attr]

    def close(self) -> int:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return self.process.wait(timeout=240)


def _speak() -> Iterator[Client]:
    found = Client()
    yield found
    if found.process.poll() is None:
        found.process.kill()
    found.close()


client = pytest.fixture(_speak, name="client")
# Of tests that leave no trace in the worker, whose start takes seconds.
common_client = pytest.fixture(_speak, name="common_client", scope="module")


@pytest.fixture
def image_file(tmp_path: Path, make_image: Callable[..., Volume]) -> Path:
    volume = make_image(11, (26, 44, 36))
    return write_image(
        np.asarray(volume.data[0]), tmp_path / "scan.nii.gz", like=volume
    )


def test_the_worker_gives_what_predict_gives(
    client: Client, image_file: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    client.say("this is not json")
    client.say("[1, 2]")
    client.send(command="dance", id="d")
    client.send(command="ping")
    client.send(
        command="predict",
        id="p",
        image=str(image_file),
        model=str(tiny_model_path),
        output=str(tmp_path / "out"),
    )
    events = client.until("result", "error")
    names = [event["event"] for event in events]
    assert names.count("warning") == 3
    assert "pong" in names
    assert names[-1] == "result"
    assert names.index("started") < names.index("stores") < names.index("block")
    result = events[-1]
    direct = predict(open_volume(image_file), load_model(tiny_model_path))
    labels = zarr.open_array(Path(result["labels"]) / "0", mode="r")[...]
    errors = zarr.open_array(Path(result["error_map"]) / "0", mode="r")[...]
    np.testing.assert_array_equal(labels, np.asarray(direct.labels))
    np.testing.assert_array_equal(
        errors.astype(np.float32) / np.float32(255), np.asarray(direct.error_map)
    )
    assert result["voxels"] == {str(v): n for v, n in direct.voxels.items()}
    client.send(command="shutdown")
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.wait(timeout=240) == 0


def test_cancelling_stops_the_job_and_leaves_nothing(
    client: Client, image_file: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    command = {
        "command": "predict",
        "image": str(image_file),
        "model": str(tiny_model_path),
    }
    client.send(**command, id="one", output=str(tmp_path / "one"), overlap=0.8)
    client.send(**command, id="two", output=str(tmp_path / "two"))
    client.until("stores")
    client.send(command="cancel", id="one")
    client.send(command="cancel", id="two")  # before it has begun
    events = client.until("cancelled", "result")
    assert events[-1] == {"event": "cancelled", "id": "one"}
    assert not any((tmp_path / "one").iterdir())
    assert client.until("cancelled", "result")[-1]["id"] == "two"
    client.send(**command, id="three", output=str(tmp_path / "three"))
    assert client.until("result", "error")[-1]["event"] == "result"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "/nowhere.nii.gz"}, "nowhere"),
        ({"model": "nobody"}, "no model 'nobody'"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"overlap": 1.5}, "overlap of 1.5"),
        ({"overlap": "much"}, "overlap"),
        ({"output": None}, "output"),
    ],
)
def test_mendable_faults_are_one_line_and_the_worker_lives_on(
    common_client: Client,
    image_file: Path,
    tiny_model_path: Path,
    tmp_path: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    command = {
        "command": "predict",
        "id": "p",
        "image": str(image_file),
        "model": str(tiny_model_path),
        "output": str(tmp_path / "out"),
    }
    common_client.send(**{**command, **change})
    event = common_client.until("error", "result")[-1]
    assert event["kind"] == "user"
    assert message in event["message"]
    assert "\n" not in event["message"]
    common_client.send(command="ping")
    assert common_client.until("pong")


def test_earlier_results_in_the_folder_are_left_alone(
    client: Client, image_file: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    command = {
        "command": "predict",
        "image": str(image_file),
        "model": str(tiny_model_path),
        "output": str(tmp_path / "out"),
    }
    client.send(**command, id="one")
    result = client.until("result", "error")[-1]
    before = zarr.open_array(Path(result["labels"]) / "0", mode="r")[...]
    client.send(**command, id="two")
    event = client.until("result", "error")[-1]
    assert (event["event"], event["kind"]) == ("error", "user")
    after = zarr.open_array(Path(result["labels"]) / "0", mode="r")[...]
    np.testing.assert_array_equal(after, before)


def test_lines_of_any_bytes_do_not_stop_the_worker_from_ending(client: Client) -> None:
    assert client.process.stdin is not None
    client.until("ready")
    client.process.stdin.buffer.write(b"\xff\xfe\n" + b"[" * 100_000 + b"\n")
    client.process.stdin.flush()
    client.send(command="cancel", id="never seen")
    client.send(command="ping")
    assert client.until("pong")
    client.process.stdin.close()
    assert client.process.wait(timeout=120) == 0


def test_the_end_of_input_ends_a_busy_worker(
    client: Client, image_file: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    client.send(
        command="predict",
        id="p",
        image=str(image_file),
        model=str(tiny_model_path),
        output=str(tmp_path / "out"),
        overlap=0.9,
    )
    client.until("stores")
    process = psutil.Process(client.process.pid)
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.wait(timeout=240) == 0
    assert not process.is_running()


def test_one_core_is_left_to_the_viewer_where_there_are_three() -> None:
    assert [compute_threads(n) for n in (1, 2, 3, 4, 16)] == [1, 2, 2, 3, 15]


class Scripted(Jobs):
    """Jobs without any computation: each step says what is being done."""

    def __init__(self) -> None:
        super().__init__()
        self.after: dict[tuple[str, int], Callable[[], None]] = {}

    def predict(self, command: Command) -> Iterator[Event]:
        yield from self._count(command["id"], 2)

    edges = predict

    def finetune(self, command: Command, control: FinetuneControl) -> Iterator[Event]:
        yield from self._count(command["id"], 6, control)

    def _count(
        self, job: str, steps: int, control: FinetuneControl | None = None
    ) -> Iterator[Event]:
        for done in range(1, steps + 1):
            if control is not None and control.finish:
                break
            self.after.get((job, done), lambda: None)()
            yield "progress", {"done": done}
        yield "result", {"done": True}


class Stage:
    """A worker in this process, whose commands come at chosen steps of its jobs."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.jobs = Scripted()
        self.worker = Worker(self.out, self.jobs)

    def say(self, *commands: str) -> None:
        for text in commands:
            command, _, job = text.partition(" ")
            self.worker.take(json.dumps({"command": command, "id": job, "job": None}))

    def at(self, job: str, done: int, *commands: str) -> None:
        self.jobs.after[job, done] = lambda: self.say(*commands)

    def play(self) -> list[str]:
        """What was said, until a shutdown was asked for."""
        self.worker.work()
        events = [json.loads(line) for line in self.out.getvalue().splitlines()]
        return [
            f"{e['id']} {e.get('done') if e['event'] == 'progress' else e['event']}"
            for e in events
            if e["event"] != "ready"
        ]


def test_interactive_jobs_go_before_a_training_step() -> None:
    stage = Stage()
    stage.say("finetune f")
    stage.at("f", 2, "predict p", "edges e")
    stage.at("f", 5, "shutdown")
    assert stage.play() == [
        *("f started", "f 1", "f 2"),
        *("p started", "p 1", "p 2", "p result"),
        *("e started", "e 1", "e 2", "e result"),
        *("f 3", "f 4", "f 5"),
    ]


def test_a_paused_training_rests_and_lets_others_work() -> None:
    stage = Stage()
    stage.say("finetune f")
    stage.at("f", 2, "pause f", "predict p", "predict q")
    stage.at("q", 2, "resume f")
    stage.at("f", 5, "shutdown")
    said = stage.play()
    paused, resumed = said.index("f paused"), said.index("f resumed")
    assert said.index("p result") < said.index("q result") < resumed
    assert not {"f 4", "f 5"} & set(said[:resumed])
    assert paused < resumed
    assert said[-1] in ("f 5", "f 6")


def test_pausing_and_resuming_before_anyone_looked_changes_nothing() -> None:
    stage = Stage()
    stage.say("finetune f")
    stage.at("f", 2, "pause f", "resume f")
    stage.at("f", 6, "shutdown")
    assert "f paused" not in stage.play()


def test_finishing_ends_the_training_also_from_a_pause() -> None:
    stage = Stage()
    stage.say("finetune f")
    stage.at("f", 2, "pause f", "predict p")
    stage.at("p", 2, "finish f", "predict last")
    stage.at("last", 2, "finetune g")
    stage.at("g", 6, "shutdown")
    said = stage.play()
    assert "f result" in said
    assert "f 4" not in said


def test_waiting_and_resting_jobs_can_be_cancelled() -> None:
    stage = Stage()
    stage.say("finetune f", "finetune g", "predict p", "cancel p", "cancel g")
    stage.at("f", 1, "pause f", "cancel f", "finetune h")
    stage.at("h", 6, "shutdown")
    said = stage.play()
    for job in "fgp":
        assert f"{job} cancelled" in said
    assert "g started" not in said
    assert "p started" not in said
    assert said.index("f cancelled") < said.index("h started")


def test_a_second_training_waits_for_the_first() -> None:
    stage = Stage()
    stage.say("finetune f", "finetune g", "finetune f")
    stage.at("g", 6, "shutdown")
    said = stage.play()
    assert said.index("f result") < said.index("g started")
    assert said.count("f warning") == 1  # its id is in use


class Impatient(queue.Queue[Command]):
    """Says something where a worker would wait, and notices one that does not rest."""

    def __init__(self, *remarks: Callable[[], None]) -> None:
        super().__init__()
        self.remarks = list(remarks)
        self.looks = 0

    def get(self, block: bool = True, timeout: float | None = None) -> Command:
        if self.empty() and block:
            self.remarks.pop(0)()
        self.looks += 1
        assert self.looks < 50, "the worker does not rest"
        return super().get(block, timeout)


def test_nothing_is_computed_while_a_second_training_waits_for_a_paused_one() -> None:
    stage = Stage()
    stage.worker._commands = Impatient(
        lambda: stage.say("cancel g"), lambda: stage.say("shutdown", "pause f")
    )
    stage.say("finetune f", "finetune g")
    stage.at("f", 2, "pause f")
    said = stage.play()
    assert said[-2:] == ["f paused", "g cancelled"]


def test_asking_a_job_that_ends_this_moment_is_no_mistake() -> None:
    class Ending(dict[str, Any]):
        """Whatever is looked for has ended when it is fetched."""

        def __contains__(self, job: object) -> bool:
            return True

    stage = Stage()
    stage.worker._open = Ending()
    stage.say("cancel f", "pause f", "resume f", "finish f")
    assert stage.out.getvalue() == ""


@pytest.fixture
def project_file(image_file: Path, tiny_model_path: Path, tmp_path: Path) -> Path:
    project = Project.create(tmp_path / "study.e2m", model=tiny_model_path)
    project.add_case(open_volume(image_file))
    return project.path


def test_a_case_is_predicted_ranked_and_fine_tuned_on(
    client: Client, project_file: Path
) -> None:
    project = {"project": str(project_file)}
    client.send(command="predict", id="p", case="scan", **project)
    events = client.until("result", "error")
    result = events[-1]
    assert result["event"] == "result", result
    assert {"started", "stores", "block"} <= {event["event"] for event in events}
    case = Project.open(project_file).case("scan")
    assert case.prediction is not None
    assert result["prediction"] == case.prediction.number == 1
    assert result["labels"] == str(case.prediction.labels)
    edges = case.prediction.edges()
    assert edges is not None
    assert result["edges"] == len(edges)
    client.send(command="edges", id="e", case="scan", **project)
    assert client.until("result", "error")[-1] == {
        "event": "result",
        "id": "e",
        "edges": len(edges),
    }
    for settings, said in (
        ({}, "0 corrected or accepted places"),
        ({"steps": "many"}, "wrong settings"),
        ([1], "no object"),
    ):
        client.send(command="finetune", id="f", settings=settings, **project)
        event = client.until("result", "error")[-1]
        assert (event["id"], event["kind"]) == ("f", "user")
        assert said in event["message"]
    client.send(command="predict", id="q", case="nobody", **project)
    assert "no case 'nobody'" in client.until("result", "error")[-1]["message"]
