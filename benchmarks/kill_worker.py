"""A worker that fine-tunes, killed at random steps: what is lost?

`python -m benchmarks.kill_worker`. A project of one phantom is predicted, its worst
edges are given their truth, and the worker fine-tunes on them. SIGKILL ends it ten
times; each new worker resumes the job. At the end the verdict is there.
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.inference.project import predict_into_labels_job
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.model import load_model
from e2miseg_core.progress import run
from e2miseg_core.project import Project
from e2miseg_core.samples import sample_labels_path, sample_path
from e2miseg_core.simulation.robot import Robot

MODEL = "phantom-lesions"
KILLS, STEPS, EDGES = 10, 60, 8
SETTINGS = {"steps": STEPS, "checkpoint_every": 10, "test_every": STEPS}


@dataclass(frozen=True, kw_only=True)
class Killed:
    """One kill: the last step told before it, and the one that was gone on from."""

    told: int
    resumed: int
    seconds: float  # from the kill until then

    @property
    def lost(self) -> int:
        """Steps that had to be done again."""
        return self.told - self.resumed


def make_project(folder: Path) -> Project:
    """A project with enough corrections."""
    project = Project.create(folder / "killed.e2m", model=MODEL)
    case = project.add_case(open_volume(sample_path()))
    truth = np.asarray(open_labels(sample_labels_path()).data[0])
    robot = Robot(truth=truth, classes=project.classes)
    with project.lock(), case.open_labels() as store:
        prediction = run(
            predict_into_labels_job(
                store, load_model(MODEL), PredictionOptions(), version=0
            )
        )
        for edge in (prediction.edges() or [])[:EDGES]:
            robot.review(store, case.review(), edge, prediction.number)
    return project


class Worker:
    """A worker process with one fine-tuning."""

    def __init__(self, project: Project, job: Path) -> None:
        command = [sys.executable, "-u", "-m", "e2miseg_core.worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._send(
            command="finetune",
            id="k",
            project=str(project.path),
            job=str(job),
            resume=(job / "request.json").exists(),
            settings=SETTINGS,
        )

    def events(self) -> Iterator[dict[str, Any]]:
        """What it says."""
        if self.process.stdout is not None:
            for line in self.process.stdout:
                yield json.loads(line)

    def steps(self) -> Iterator[int]:
        """Steps of the training, as they are told."""
        for event in self.events():
            if event["event"] == "error":
                sys.exit(f"error: {event['message']}")
            if event["event"] == "progress" and event["stage"] == "training":
                yield int(event["done"])

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _send(self, **command: object) -> None:
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()


def measure() -> tuple[list[Killed], str]:
    """Kill ten times, then let it end."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder))
        job = project.new_job_folder()
        found: list[Killed] = []
        told, killed_at = 0, 0.0
        for number in range(KILLS + 1):
            worker = Worker(project, job)
            patience = rng.randint(3, 14)
            for count, step in enumerate(s for s in worker.steps() if s):
                if count == 0 and number:
                    seconds = time.monotonic() - killed_at
                    found.append(Killed(told=told, resumed=step, seconds=seconds))
                told = step
                if count >= patience and number < KILLS:
                    break
                if step == STEPS:
                    break
            if number < KILLS and told < STEPS:
                worker.kill()
                killed_at = time.monotonic()
                continue
            sentence = _end(worker)
            break
        whole = len(Project.open(project.path).history())
    return found, f"{sentence} Lines in versions.jsonl: {whole}."


def _end(worker: Worker) -> str:
    for event in worker.events():
        if event["event"] == "result":
            worker.kill()
            return str(event["sentence"])
    return "no verdict"


def table() -> Table:
    """Print what each kill cost."""
    found, sentence = measure()
    shown = Table(
        title="Worker killed while fine-tuning (a checkpoint every 10 steps)",
        caption=sentence,
    )
    for column in ("kill", "last step told", "gone on from", "steps lost"):
        shown.add_column(column)
    shown.add_column("seconds until then")
    for number, one in enumerate(found, start=1):
        shown.add_row(
            str(number),
            str(one.told),
            str(one.resumed),
            str(one.lost),
            f"{one.seconds:.1f}",
        )
    return shown


if __name__ == "__main__":
    Console(width=110).print(table())
