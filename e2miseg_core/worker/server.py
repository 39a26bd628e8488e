"""Commands in, events out; what is interactive goes before a step of training.

Commands on standard input, events on standard output (design, section 5). Bulk data
goes through stores on disk. The end of standard input ends the worker, so it does not
outlive its viewer.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

import torch

from e2miseg_core import __version__
from e2miseg_core.errors import Cancelled, E2MISegError, as_user_error
from e2miseg_core.project import Project
from e2miseg_core.project.jobs import discard_job
from e2miseg_core.training.finetune import FinetuneControl
from e2miseg_core.worker.jobs import Command, Event, Jobs

__all__ = ["PROTOCOL", "Worker", "compute_threads", "main"]

PROTOCOL = 2
NICENESS = 10  # the viewer goes first
INTERACTIVE = ("predict", "edges")
WAKE: Command = {}  # nothing to do but to look at what was asked of a training


@dataclass(slots=True)
class OpenJob:
    """A job that waits or runs, and what was asked of it since."""

    id: str
    command: Command
    control: FinetuneControl = field(default_factory=FinetuneControl)
    cancelled: bool = False
    paused: bool = False
    told_paused: bool = False
    steps: Generator[Event, None, None] | None = None

    @property
    def resting(self) -> bool:
        """Whether nothing is to be done for it now."""
        return self.paused and self.told_paused and not self.cancelled


class Worker:
    """Answers commands: interactive jobs in turn, and one fine-tuning in between.

    Parameters
    ----------
    out : TextIO
        Where events go.
    jobs : Jobs, optional
        What does them.
    """

    def __init__(self, out: TextIO, jobs: Jobs | None = None) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._commands: queue.Queue[Command] = queue.Queue()
        self._open: dict[str, OpenJob] = {}
        self._trainings: deque[OpenJob] = deque()  # the first one is under way
        self._ended = threading.Event()
        self._jobs = jobs or Jobs()

    def listen(self, lines: BinaryIO) -> None:
        """Read commands until the input ends; runs beside `work`, in a thread."""
        try:
            for line in lines:
                if line.strip():
                    self.take(line.decode("utf-8", errors="replace"))
                if self._ended.is_set():
                    break
        finally:  # whatever happens, the worker must not outlive its input
            self._ended.set()
            self._commands.put(WAKE)

    def work(self) -> None:
        """Do the jobs until the input ends or a shutdown is asked for."""
        self.emit("ready", version=__version__, protocol=PROTOCOL, pid=os.getpid())
        while not self._ended.is_set():
            command = self._next()
            self._tell_pause()
            if command:
                job = self._open[str(command["id"])]
                if command["command"] in INTERACTIVE:
                    self._do(job)
                else:
                    self._trainings.append(job)
            elif command is None or self._commands.empty():
                self._train_a_step()
        for job in self._trainings:
            if job.steps is not None:
                job.steps.close()  # it can be resumed

    def emit(self, event: str, **values: object) -> None:
        """Write one event; a reader that has gone away ends the worker."""
        line = json.dumps({"event": event, **values}, allow_nan=False)
        try:
            with self._writing:
                self._out.write(line + "\n")
                self._out.flush()
        except (BrokenPipeError, ValueError):
            self._ended.set()

    def take(self, line: str) -> None:
        """Take a command: what cannot wait is done at once, the rest is queued."""
        try:
            command = json.loads(line)
            name, job = str(command["command"]), str(command.get("id", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.emit("warning", id="", message=f"not a command: {line.strip():.200}")
            return
        if name in ("cancel", "pause", "resume", "finish"):
            asked = self._open.get(job)
            if asked is not None:  # one that has ended, even just now, is no mistake
                self._ask(asked, name)
        elif name == "ping":
            self.emit("pong")
        elif name == "shutdown":
            self._ended.set()
        elif name not in (*INTERACTIVE, "finetune") or not job:
            self.emit("warning", id=job, message=f"unknown command {name!r}")
        elif job in self._open:
            self.emit("warning", id=job, message=f"a job {job!r} is open already")
        else:
            self._open[job] = OpenJob(id=job, command=command)
            self._commands.put({**command, "id": job})

    def _ask(self, job: OpenJob, name: str) -> None:
        if name == "cancel":
            job.cancelled = True
        else:
            job.paused = name == "pause"
            job.control.finish = job.control.finish or name == "finish"
        self._commands.put(WAKE)

    def _next(self) -> Command | None:
        """The next command; None where there is none and training can go on."""
        if self._can_train():
            try:
                return self._commands.get_nowait()
            except queue.Empty:
                return None
        return self._commands.get()

    def _can_train(self) -> bool:
        """Whether there is anything to do for the trainings; all wait for the first."""
        if not self._trainings:
            return False
        cancelled = any(job.cancelled for job in self._trainings)
        return cancelled or not self._trainings[0].resting

    def _do(self, job: OpenJob) -> None:
        """Do an interactive job to its end."""
        while self._step(job):
            self._tell_pause()

    def _train_a_step(self) -> None:
        for job in [job for job in self._trainings if job.cancelled]:
            self._step(job)
        if not self._trainings:
            return
        job = self._trainings[0]
        if job.paused:
            return
        if job.told_paused:
            job.told_paused = False
            self.emit("resumed", id=job.id)
        self._step(job)

    def _tell_pause(self) -> None:
        """Between two steps, the training rests as soon as it is asked to."""
        job = self._trainings[0] if self._trainings else None
        if job is not None and job.paused and not job.told_paused:
            job.told_paused = True
            self.emit("paused", id=job.id)

    def _step(self, job: OpenJob) -> bool:
        """One step of a job; False when it has ended, however it did."""
        try:
            self._check_wanted(job)
            if job.steps is None:
                self.emit("started", id=job.id)
                job.steps = self._begin(job)
            event, values = next(job.steps)
            self.emit(event, id=job.id, **values)
        except StopIteration:
            self._close(job)
        except Cancelled:
            self._close(job)
            self.emit("cancelled", id=job.id)
        except Exception as error:  # noqa: BLE001 - a bug goes to the viewer whole
            self._close(job)
            self._tell(job.id, error)
        else:
            return True
        return False

    def _check_wanted(self, job: OpenJob) -> None:
        if self._ended.is_set() or job.cancelled:
            raise Cancelled

    def _begin(self, job: OpenJob) -> Generator[Event, None, None]:
        kind = job.command["command"]
        if kind == "predict":
            return self._jobs.predict(job.command)
        if kind == "edges":
            return self._jobs.edges(job.command)
        return self._jobs.finetune(job.command, job.control)

    def _close(self, job: OpenJob) -> None:
        """Forget a job; what it holds is let go before anyone is told of its end."""
        if job.steps is not None:
            job.steps.close()
        if job in self._trainings:
            self._trainings.remove(job)
            if job.cancelled:
                _discard(job.command)
        self._open.pop(job.id, None)

    def _tell(self, job: str, error: Exception) -> None:
        mendable = as_user_error(error)
        if mendable is not None:
            self.emit("error", id=job, kind="user", message=str(mendable))
        else:
            message = f"{type(error).__name__}: {error}"
            trace = "".join(traceback.format_exception(error))
            self.emit("error", id=job, kind="bug", message=message, traceback=trace)


def _discard(command: Command) -> None:
    """Remove a cancelled job's folder, if it was named and may go."""
    folder, project = command.get("job"), command.get("project")
    if isinstance(folder, str) and folder and isinstance(project, str):
        with contextlib.suppress(E2MISegError):  # whoever asked for it will see
            discard_job(Project.open(project), Path(folder))


def compute_threads(cores: int) -> int:
    """Threads to compute with: one core is left to the viewer where there are three."""
    return cores - 1 if cores > 2 else cores


def main() -> None:
    """Serve standard input until it ends."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # Whatever a library prints must not end up between the events.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(OSError, AttributeError):  # no niceness on Windows
        os.nice(NICENESS)
    threads = compute_threads(os.cpu_count() or 1)
    torch.set_num_threads(min(torch.get_num_threads(), threads))
    worker = Worker(events)
    threading.Thread(
        target=worker.listen, args=(sys.stdin.buffer,), daemon=True
    ).start()
    worker.work()
