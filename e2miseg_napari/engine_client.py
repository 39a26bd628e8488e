"""The plugin's side of the worker: jobs go out, events come back as signals."""

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from e2miseg_napari.jobs import EdgesJob, FinetuneJob, Job, PredictJob
from e2miseg_napari.protocol import (
    PROTOCOL_VERSION,
    Block,
    EdgesResult,
    FinetuneResult,
    JobCancelled,
    JobFailed,
    JobPaused,
    JobProgress,
    JobResult,
    JobResumed,
    JobStarted,
    JobStores,
    PredictResult,
    Ready,
    Warned,
)
from e2miseg_napari.worker_process import WorkerProcess

__all__ = ["EngineClient", "worker_command"]

_CANCEL_MS = 15_000  # a worker that has not answered by then is ended
_QUIT_WAIT_S = 1.0
_RESULTS = {
    PredictJob: PredictResult,
    EdgesJob: EdgesResult,
    FinetuneJob: FinetuneResult,
}


def worker_command() -> list[str]:
    """Command that starts the worker.

    ``-P`` keeps the folder that napari was started in off the worker's import path:
    a file named like a module there would be imported instead of it.
    """
    return [sys.executable, "-P", "-u", "-m", "e2miseg_core.worker"]


@dataclass(eq=False, slots=True)
class _Open:
    """A job that has not ended; `patience` runs once it is to be cancelled."""

    job: Job
    started: bool = False
    patience: QTimer | None = None


class EngineClient(QObject):
    """Runs jobs in a worker process, starting it and starting it anew as needed.

    Several jobs may be open at once; the worker decides which goes first. Each event of
    a job carries its `id`, and each open job ends with exactly one of `result`,
    `cancelled` and `error`, unless `shutdown` or `kill` was called. All signals come on
    the GUI thread.

    Parameters
    ----------
    command : sequence of str, optional
        Program and arguments; by default the worker of this installation.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    ready = Signal(object)  # Ready
    started = Signal(object)  # JobStarted
    progress = Signal(object)  # JobProgress
    paused = Signal(object)  # JobPaused
    resumed = Signal(object)  # JobResumed
    stores = Signal(object)  # JobStores
    block = Signal(object)  # Block
    result = Signal(object)  # PredictResult, EdgesResult or FinetuneResult
    cancelled = Signal(object)  # JobCancelled
    error = Signal(object)  # JobFailed
    warning = Signal(object)  # Warned
    gone = Signal(str)  # the worker ended unasked, with no open job to tell it

    def __init__(
        self, command: Sequence[str] | None = None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._command = list(command or worker_command())
        self._worker: WorkerProcess | None = None
        self._ready: Ready | None = None
        self._open: dict[str, _Open] = {}
        self._numbers = itertools.count(1)
        self._relay = {
            JobStarted: self.started,
            JobProgress: self.progress,
            JobPaused: self.paused,
            JobResumed: self.resumed,
            JobStores: self.stores,
            Block: self.block,
        }
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.kill)

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The open jobs by their names, in the order in which they were submitted."""
        return MappingProxyType({name: one.job for name, one in self._open.items()})

    @property
    def info(self) -> Ready | None:
        """What the worker said about itself, None before it has."""
        return self._ready

    @property
    def pid(self) -> int | None:
        """Process number of the worker while it runs."""
        return None if self._worker is None else self._worker.pid

    def next_id(self) -> str:
        """Return a job name that has not been used."""
        return f"j{os.getpid()}-{next(self._numbers)}"

    def warm_up(self) -> None:
        """Start the worker, so that the first job need not wait for it."""
        if self._worker is not None:
            return
        worker = WorkerProcess(self._command, self)
        worker.received.connect(self._on_event)
        worker.ended.connect(self._on_ended)
        self._worker = worker
        worker.start()

    def submit(self, job: Job) -> None:
        """Ask for a job.

        Raises
        ------
        RuntimeError
            If one of the same name is open.
        """
        if job.id in self._open:
            msg = f"job {job.id} is still open"
            raise RuntimeError(msg)
        self.warm_up()
        self._open[job.id] = _Open(job)
        self._send(job.command())

    def cancel(self, name: str) -> None:
        """Ask the worker to stop a job; `cancelled` follows in any case."""
        one = self._open.get(name)
        if one is None or one.patience is not None:
            return
        one.patience = QTimer(self)
        one.patience.setSingleShot(True)
        one.patience.timeout.connect(self._lose_patience)
        one.patience.start(_CANCEL_MS)
        self._send({"command": "cancel", "id": name})

    def pause(self, name: str) -> None:
        """Ask the worker to let a job rest; `paused` follows."""
        self._tell("pause", name)

    def resume(self, name: str) -> None:
        """Ask the worker to go on with a paused job; `resumed` follows."""
        self._tell("resume", name)

    def finish(self, name: str) -> None:
        """Ask the worker to train no more, and to test what was learned."""
        self._tell("finish", name)

    def abandon(self, name: str) -> None:
        """Stop a job without having it cleaned up: what is on disk can be resumed.

        That takes the worker's end; other open jobs are told that they are cancelled.
        """
        if name not in self._open:
            return
        self._close(name)
        worker, ended = self._let_go()
        if worker is not None:
            worker.kill()
        for one in ended:
            self.cancelled.emit(JobCancelled(id=one.job.id))

    def shutdown(self) -> None:
        """End the worker politely; the next job would start another."""
        worker, _ = self._let_go()
        if worker is not None:
            worker.stop()

    def kill(self) -> None:
        """End the worker and all its descendants before this returns."""
        worker, _ = self._let_go()
        if worker is not None:
            worker.kill(wait=_QUIT_WAIT_S)

    def _tell(self, command: str, name: str) -> None:
        if name in self._open:
            self._send({"command": command, "id": name})

    def _send(self, message: Mapping[str, object]) -> None:
        if self._worker is not None:
            self._worker.send(message)

    def _let_go(self) -> tuple[WorkerProcess | None, list[_Open]]:
        """Forget the worker and its jobs; they are returned."""
        worker, self._worker = self._worker, None
        self._ready = None
        ended = list(self._open.values())
        for one in ended:
            self._close(one.job.id)
        return worker, ended

    def _close(self, name: str) -> None:
        one = self._open.pop(name)
        if one.patience is not None:
            one.patience.stop()
            one.patience.deleteLater()

    def _lose_patience(self) -> None:
        timer = self.sender()
        (one,) = (one for one in self._open.values() if one.patience is timer)
        if not one.started and any(other.started for other in self._open.values()):
            self._close(one.job.id)  # it only waits, and is not going to be started
            self.cancelled.emit(JobCancelled(id=one.job.id))
            return
        worker, ended = self._let_go()
        if worker is not None:
            worker.kill()
        line = (
            "the engine did not stop another job and was ended; needed: an engine that "
            "answers; it starts again with the next job"
        )
        self._tell_end(ended, line, "")

    def _on_event(self, event: object) -> None:
        if self.sender() is not self._worker:
            return  # a worker that we have let go of
        if isinstance(event, Ready):
            self._on_ready(event)
        elif isinstance(event, Warned):
            self.warning.emit(event)
        elif isinstance(event, JobFailed) and not event.id:
            self._on_nameless(event)
        elif (one := self._open.get(getattr(event, "id", ""))) is not None:
            self._on_job_event(one, event)

    def _on_ready(self, event: Ready) -> None:
        if event.protocol == PROTOCOL_VERSION:
            self._ready = event
            self.ready.emit(event)
            return
        worker, ended = self._let_go()
        if worker is not None:
            worker.stop()
        line = (
            f"the engine speaks protocol {event.protocol}; needed: "
            f"{PROTOCOL_VERSION}; install one version of e2miseg-napari and restart"
        )
        for one in ended:
            self.error.emit(JobFailed(id=one.job.id, kind="user", message=line))
        if not ended:
            self.gone.emit(line)

    def _on_nameless(self, event: JobFailed) -> None:
        """What is wrong with a request is told of the only one, else of none."""
        if len(self._open) != 1:
            self.warning.emit(Warned(message=event.message))
            return
        (name,) = self._open
        self._close(name)
        self.error.emit(replace(event, id=name))

    def _on_job_event(self, one: _Open, event: object) -> None:
        if isinstance(event, JobResult):
            self._on_result(one.job, event)
        elif isinstance(event, JobCancelled):
            self._close(event.id)
            self.cancelled.emit(event)
        elif isinstance(event, JobFailed):
            self._close(event.id)
            self.error.emit(event)
        elif (signal := self._relay.get(type(event))) is not None:
            one.started = True
            signal.emit(event)

    def _on_result(self, job: Job, event: JobResult) -> None:
        self._close(job.id)
        needed = _RESULTS[type(job)]
        if isinstance(event, needed):
            self.result.emit(event)
            return
        line = f"the engine answered with {type(event).__name__}, not {needed.__name__}"
        self.error.emit(JobFailed(id=job.id, kind="bug", message=line))

    def _on_ended(self, reason: str) -> None:
        worker = self.sender()
        if not isinstance(worker, WorkerProcess):
            return
        tail = worker.tail
        worker.deleteLater()
        if worker is not self._worker:
            return  # asked for
        if last := tail.strip().rpartition("\n")[2]:
            reason = f"{reason}: {last}"
        _, ended = self._let_go()
        line = (
            f"the engine stopped unexpectedly ({reason}); needed: a running engine; "
            "it starts again with the next job"
        )
        self._tell_end(ended, line, tail)
        if not ended:
            self.gone.emit(line)

    def _tell_end(self, ended: Sequence[_Open], line: str, tail: str) -> None:
        """Tell each job that its worker is no more; what was to stop has stopped."""
        for one in ended:
            if one.patience is not None:
                self.cancelled.emit(JobCancelled(id=one.job.id))
                continue
            failed = JobFailed(
                id=one.job.id,
                kind="user",
                message=line,
                traceback=tail,
                engine_died=True,
            )
            self.error.emit(failed)
