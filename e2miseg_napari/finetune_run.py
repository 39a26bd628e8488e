"""One fine-tuning in the worker: what it says, what it is told, what if it dies."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.finetune_jobs import (
    CurvePoint,
    UnfinishedJob,
    has_begun,
    read_history,
)
from e2miseg_napari.finetune_state import (
    INSTEAD,
    FinetunePhase,
    FinetuneState,
    step_in_words,
)
from e2miseg_napari.jobs import FinetuneJob
from e2miseg_napari.problems import Problem, problem_of_job
from e2miseg_napari.protocol import (
    FinetuneResult,
    JobCancelled,
    JobFailed,
    JobPaused,
    JobProgress,
    JobResumed,
    JobStarted,
    Warned,
)

__all__ = ["FinetuneRun"]

_log = logging.getLogger(__name__)

_RESTARTS = 3  # of a dead worker, for one fine-tuning


class FinetuneRun(QObject):
    """One fine-tuning, from its submission to its end.

    It ends with exactly one of `ended`, `cancelled` and `failed`.

    Parameters
    ----------
    client : EngineClient
        To the worker.
    project, folder : Path
        Of the project and of the job; what the folder holds of it is gone on with.
    settings : mapping
        What differs from the worker's defaults.
    before : UnfinishedJob, optional
        What the folder holds, if the job is one to be resumed.
    clock : callable
        Returns seconds; a test may give its own.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    changed = Signal(object)  # FinetuneState
    curve_changed = Signal()
    ended = Signal(object)  # FinetuneResult
    cancelled = Signal()
    failed = Signal(object)  # Problem
    notice = Signal(str)

    def __init__(
        self,
        client: EngineClient,
        project: Path,
        folder: Path,
        *,
        settings: Mapping[str, object],
        before: UnfinishedJob | None = None,
        clock: Callable[[], float] = time.monotonic,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.project, self.folder = project, folder
        self.state = FinetuneState(
            phase=FinetunePhase.SAVING, line="saving the last strokes…"
        )
        self.points: list[CurvePoint] = read_history(folder)
        self.steps = before.steps if before else 0  # to take; 0 while unknown
        self._client = client
        self._id = client.next_id()
        self._settings = settings
        self._clock = clock
        self._worked = before.seconds if before else 0.0
        self._since = clock()
        self._deaths = 0
        self._step: JobProgress | None = None
        client.started.connect(self._on_started)
        client.progress.connect(self._on_progress)
        client.paused.connect(self._on_paused)
        client.resumed.connect(self._on_resumed)
        client.result.connect(self._on_result)
        client.cancelled.connect(self._on_cancelled)
        client.error.connect(self._on_error)
        client.warning.connect(self._on_warning)

    @property
    def submitted(self) -> bool:
        """Whether the engine has it."""
        return self._id in self._client.jobs

    @property
    def seconds(self) -> float:
        """How long it has worked, without pauses."""
        paused = self.state.phase == FinetunePhase.PAUSED
        return self._worked + (0.0 if paused else self._clock() - self._since)

    def submit(self) -> None:
        """Hand the job to the engine."""
        if self._client.jobs:
            line = "waits for its turn…"
        elif self._client.info is None:
            line = "starting the engine…"
        else:
            line = "reading the corrections…"
        self._show(FinetunePhase.STARTING, line)
        job = FinetuneJob(
            id=self._id,
            project=str(self.project),
            job=str(self.folder),
            resume=has_begun(self.folder),
            settings=self._settings,
        )
        self._client.submit(job)

    def pause(self) -> None:
        """Let it rest after the step it is at."""
        if self.state.phase == FinetunePhase.RUNNING:
            self._show_step(FinetunePhase.PAUSING)
            self._client.pause(self._id)

    def resume(self) -> None:
        """Go on after a pause."""
        if self.state.phase == FinetunePhase.PAUSED:
            self._client.resume(self._id)

    def finish(self) -> None:
        """Train no more, and test what was learned so far."""
        before = self.state.phase
        if before in {FinetunePhase.RUNNING, FinetunePhase.PAUSED}:
            self._show_step(FinetunePhase.FINISHING)
            self._client.finish(self._id)
            if before == FinetunePhase.PAUSED:
                self._client.resume(self._id)

    def discard(self) -> None:
        """Stop, and have the worker remove what is on disk of it."""
        self._show(FinetunePhase.DISCARDING, "discarding…")
        self._client.cancel(self._id)

    def leave(self) -> None:
        """Stop; what is on disk stays. Nothing is told of this run any more."""
        self._client.abandon(self._id)

    def _own(self, event: Any) -> bool:
        return bool(event.id == self._id)

    def _on_started(self, event: JobStarted) -> None:
        if self._own(event):
            self._show(FinetunePhase.RUNNING, "reading the corrections…")
        elif self.state.phase == FinetunePhase.RUNNING:
            self._show_step(FinetunePhase.RUNNING, "waits while another job runs")

    def _on_progress(self, event: JobProgress) -> None:
        if not self._own(event) or self.state.phase == FinetunePhase.DISCARDING:
            return
        self._step = event
        loss, wrong = (event.details.get(key) for key in ("loss", "held_out_wrong"))
        if loss is not None or wrong is not None:
            self._add(CurvePoint(step=event.done, loss=loss, wrong=wrong))
            self.steps = event.total
            self.curve_changed.emit()
        self._show_step(self.state.phase)

    def _add(self, point: CurvePoint) -> None:
        """Add a point; of steps that are made again only the last counts."""
        while self.points and self.points[-1].step >= point.step:
            self.points.pop()
        self.points.append(point)

    def _on_paused(self, event: JobPaused) -> None:
        if self._own(event):
            self._worked, self._since = self.seconds, self._clock()
            self._show_step(FinetunePhase.PAUSED)

    def _on_resumed(self, event: JobResumed) -> None:
        if self._own(event) and self.state.phase == FinetunePhase.PAUSED:
            self._since = self._clock()
            self._show_step(FinetunePhase.RUNNING)

    def _on_result(self, event: FinetuneResult) -> None:
        if self._own(event):
            self.ended.emit(event)

    def _on_cancelled(self, event: JobCancelled) -> None:
        if self._own(event):
            self.cancelled.emit()

    def _on_error(self, event: JobFailed) -> None:
        if not self._own(event):
            return
        if event.engine_died and self._deaths < _RESTARTS:
            self._restart(event)
            return
        problem = problem_of_job(event)
        if event.engine_died:
            line = f"{problem.line} (it has stopped {self._deaths + 1} times)"
            problem = Problem(line=line, details=problem.details)
        self.failed.emit(problem)

    def _restart(self, event: JobFailed) -> None:
        """Go on from the last checkpoint, as the user had wished."""
        _log.warning("%s %s", event.message, event.traceback)
        wished = self.state.phase
        self._deaths += 1
        self._step = None
        self.points = read_history(self.folder)
        self.curve_changed.emit()
        self.submit()
        if wished in {FinetunePhase.PAUSING, FinetunePhase.PAUSED}:
            self._client.pause(self._id)
        elif wished == FinetunePhase.FINISHING:
            self._client.finish(self._id)
        step = self.points[-1].step if self.points else 0
        self.notice.emit(
            "The engine stopped and was started again; the fine-tuning goes on from "
            f"step {step} (restart {self._deaths} of {_RESTARTS})."
        )

    def _on_warning(self, event: Warned) -> None:
        if self._own(event):
            self.notice.emit(event.message)

    def _show_step(self, phase: FinetunePhase, instead: str = "") -> None:
        """Show the last step, with `instead` in place of the time left."""
        step = self._step
        instead = instead or INSTEAD.get(phase, "")
        if step is None:
            self._show(phase, f"{instead}…" if instead else self.state.line)
        else:
            self._show(phase, step_in_words(step, instead), step.done, step.total)

    def _show(
        self, phase: FinetunePhase, line: str, done: int = 0, total: int = 0
    ) -> None:
        self.state = FinetuneState(phase=phase, line=line, done=done, total=total)
        self.changed.emit(self.state)
