"""The plugin's side of the worker: jobs go out, events come back as signals."""

import itertools
import os
import sys
from collections.abc import Sequence

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from e2miseg_napari.protocol import (
    PROTOCOL_VERSION,
    Block,
    Job,
    JobCancelled,
    JobFailed,
    JobProgress,
    JobResult,
    JobStarted,
    JobStores,
    Ready,
    Warned,
)
from e2miseg_napari.worker_process import WorkerProcess

__all__ = ["EngineClient", "worker_command"]

_CANCEL_MS = 15_000  # a worker that has not answered by then is ended
_QUIT_WAIT_S = 1.0


def worker_command() -> list[str]:
    """Command that starts the worker.

    ``-P`` keeps the folder that napari was started in off the worker's import path:
    a file named like a module there would be imported instead of it.
    """
    return [sys.executable, "-P", "-u", "-m", "e2miseg_core.worker"]


class EngineClient(QObject):
    """Runs jobs in a worker process, starting it and starting it anew as needed.

    One job runs at a time. All signals come on the GUI thread.

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
    stores = Signal(object)  # JobStores
    block = Signal(object)  # Block
    result = Signal(object)  # JobResult
    cancelled = Signal(object)  # JobCancelled
    error = Signal(object)  # JobFailed
    warning = Signal(object)  # Warned
    gone = Signal(str)  # the worker ended unasked; one line why

    def __init__(
        self, command: Sequence[str] | None = None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._command = list(command or worker_command())
        self._worker: WorkerProcess | None = None
        self._ready: Ready | None = None
        self._job: Job | None = None
        self._cancelling = False
        self._numbers = itertools.count(1)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(_CANCEL_MS)
        self._patience.timeout.connect(self._lose_patience)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.kill)

    @property
    def job(self) -> Job | None:
        """The job that runs."""
        return self._job

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
        """Start a job.

        Raises
        ------
        RuntimeError
            If one is running.
        """
        if self._job is not None:
            msg = f"job {self._job.id} is still running"
            raise RuntimeError(msg)
        self.warm_up()
        self._job = job
        self._cancelling = False
        if self._worker is not None:
            self._worker.send(job.command())

    def cancel(self) -> None:
        """Ask the worker to stop the job; `cancelled` follows in any case."""
        if self._job is None or self._cancelling or self._worker is None:
            return
        self._cancelling = True
        self._worker.send({"command": "cancel", "id": self._job.id})
        self._patience.start()

    def shutdown(self) -> None:
        """End the worker politely; the next job would start another."""
        worker = self._let_go()
        if worker is not None:
            worker.stop()

    def kill(self) -> None:
        """End the worker and all its descendants before this returns."""
        worker = self._let_go()
        if worker is not None:
            worker.kill(wait=_QUIT_WAIT_S)

    def _let_go(self) -> WorkerProcess | None:
        worker, self._worker = self._worker, None
        self._ready = None
        self._finish()
        return worker

    def _finish(self) -> Job | None:
        job, self._job = self._job, None
        self._cancelling = False
        self._patience.stop()
        return job

    def _lose_patience(self) -> None:
        worker, job = self._let_go_of_job()
        if worker is not None:
            worker.kill()
        if job is not None:
            self.cancelled.emit(JobCancelled(id=job.id))

    def _let_go_of_job(self) -> tuple[WorkerProcess | None, Job | None]:
        job = self._job
        return self._let_go(), job

    def _on_event(self, event: object) -> None:
        if self.sender() is not self._worker:
            return  # a worker that we have let go of
        if isinstance(event, Ready):
            self._on_ready(event)
        elif isinstance(event, Warned):
            self.warning.emit(event)
        elif self._job is not None and getattr(event, "id", None) == self._job.id:
            self._on_job_event(event)
        elif isinstance(event, JobFailed) and not event.id:
            self._fail(event)  # about the request itself: it has no job to name

    def _on_ready(self, event: Ready) -> None:
        if event.protocol == PROTOCOL_VERSION:
            self._ready = event
            self.ready.emit(event)
            return
        worker, job = self._let_go_of_job()
        if worker is not None:
            worker.stop()
        line = (
            f"the engine speaks protocol {event.protocol}; needed: "
            f"{PROTOCOL_VERSION}; install one version of e2miseg-napari and restart"
        )
        self.gone.emit(line)
        if job is not None:
            self.error.emit(JobFailed(id=job.id, kind="user", message=line))

    def _on_job_event(self, event: object) -> None:
        if isinstance(event, JobProgress):
            self.progress.emit(event)
        elif isinstance(event, Block):
            self.block.emit(event)
        elif isinstance(event, JobStores):
            self.stores.emit(event)
        elif isinstance(event, JobStarted):
            self.started.emit(event)
        elif isinstance(event, JobResult):
            self._finish()
            self.result.emit(event)
        elif isinstance(event, JobCancelled):
            self._finish()
            self.cancelled.emit(event)
        elif isinstance(event, JobFailed):
            self._fail(event)

    def _fail(self, event: JobFailed) -> None:
        if self._finish() is not None:
            self.error.emit(event)

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
        cancelling = self._cancelling
        _, job = self._let_go_of_job()
        line = (
            f"the engine stopped unexpectedly ({reason}); needed: a running engine; "
            "it starts again with the next prediction"
        )
        self.gone.emit(line)
        if job is None:
            return
        if cancelling:
            self.cancelled.emit(JobCancelled(id=job.id))
        else:
            failed = JobFailed(id=job.id, kind="user", message=line, traceback=tail)
            self.error.emit(failed)
