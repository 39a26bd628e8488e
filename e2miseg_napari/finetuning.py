"""Fine-tuning of the open project: begin, go on with, end; one at a time."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from e2miseg_core.errors import E2MISegError
from e2miseg_core.project import Project
from e2miseg_core.project.jobs import discard_job
from e2miseg_napari.background import Background
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.finetune_jobs import (
    CurvePoint,
    UnfinishedJob,
    has_begun,
)
from e2miseg_napari.finetune_offer import FinetuneOffer
from e2miseg_napari.finetune_run import FinetuneRun
from e2miseg_napari.finetune_state import FinetunePhase, FinetuneState
from e2miseg_napari.problems import Problem, problem_of
from e2miseg_napari.protocol import FinetuneResult

if TYPE_CHECKING:
    from e2miseg_napari.project_session import ProjectSession

__all__ = ["Finetuning"]

_WORTH_ASKING = 60.0  # seconds of work that are not thrown away without a question


class Finetuning(QObject):
    """Starts, follows and ends the fine-tuning of the project that is open.

    Parameters
    ----------
    session : ProjectSession
        Which project that is.
    client : EngineClient
        To the worker.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    changed = Signal(object)  # FinetuneState
    curve_changed = Signal()  # `points` has grown, or is another run's
    ended = Signal(object)  # FinetuneResult
    offered = Signal()  # `unfinished` is another one, or none
    version_used = Signal(int)  # by `use_version`, once that is on disk
    versions_changed = Signal()  # another one is in use, or there is a new one
    notice = Signal(str)  # one line that is no error
    problem = Signal(object)  # Problem
    predict_again_asked = Signal()

    def __init__(
        self,
        session: "ProjectSession",
        client: EngineClient,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self._client = client
        self._background = Background(self)
        self._run: FinetuneRun | None = None
        self._offer = FinetuneOffer(self)
        self._offer.changed.connect(self.offered)
        self._offer.problem.connect(self._on_thread_error)
        self.points: list[CurvePoint] = []  # of the run in hand, else of the last one
        self.steps = 0  # that it is to take, 0 while unknown
        # Replaceable: a test has a clock of its own.
        self.clock: Callable[[], float] = time.monotonic
        session.opened.connect(self._on_opened)
        self._on_opened()

    @property
    def state(self) -> FinetuneState:
        """What is being done."""
        return FinetuneState() if self._run is None else self._run.state

    @property
    def unfinished(self) -> UnfinishedJob | None:
        """A fine-tuning that was left in the middle and can be resumed."""
        return self._offer.found

    @property
    def worth_asking(self) -> bool:
        """Whether discarding would throw away more than a minute of work."""
        if self._run is not None:
            return self._run.seconds > _WORTH_ASKING
        unfinished = self.unfinished
        return unfinished is not None and unfinished.seconds > _WORTH_ASKING

    def start(self, settings: Mapping[str, object] | None = None) -> None:
        """Begin a fine-tuning on what has been corrected so far."""
        project = self.session.project
        if self._run is None and project is not None:
            with self._reported():
                self._begin(project.path, project.new_job_folder(), settings=settings)

    def resume_unfinished(self) -> None:
        """Go on with the one that was left in the middle."""
        project, unfinished = self.session.project, self.unfinished
        if self._run is None and project is not None and unfinished is not None:
            with self._reported():
                self._begin(project.path, unfinished.folder, before=unfinished)

    def pause(self) -> None:
        """Let it rest after the step it is at."""
        if self._run is not None:
            self._run.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        if self._run is not None:
            self._run.resume()

    def finish(self) -> None:
        """Train no more, and test what was learned so far."""
        if self._run is not None:
            self._run.finish()

    def discard(self) -> None:
        """Throw away the fine-tuning in hand, or the one that could be resumed."""
        run, unfinished = self._run, self.unfinished
        if run is not None and run.submitted:
            run.discard()
        elif run is not None:
            self._end()
            self._remove(run.project, run.folder)
        elif unfinished is not None and self.session.project is not None:
            self._remove(self.session.project.path, unfinished.folder)

    def leave(self) -> None:
        """Stop without losing anything: the job can be resumed."""
        run = self._run
        if run is not None:
            self._end()
            run.leave()

    def use_version(self, number: int) -> None:
        """Make another version of the model the one in use, in a thread.

        `version_used` and `versions_changed` tell when that is done, `problem` why it
        failed.
        """
        project = self.session.project
        if project is None:
            return

        def done(_: object) -> None:
            if self.session.project is project:
                self.version_used.emit(number)
                self.versions_changed.emit()

        self._background.run(
            lambda: project.use_version(number), done, self._on_thread_error
        )

    def _begin(
        self,
        project: Path,
        folder: Path,
        *,
        settings: Mapping[str, object] | None = None,
        before: UnfinishedJob | None = None,
    ) -> None:
        run = FinetuneRun(
            self._client,
            project,
            folder,
            settings=settings or {},
            before=before,
            clock=self.clock,
            parent=self,
        )
        run.changed.connect(self.changed)
        run.curve_changed.connect(self._on_curve)
        run.notice.connect(self.notice)
        run.ended.connect(self._on_ended)
        run.cancelled.connect(self._on_cancelled)
        run.failed.connect(self._fail)
        self._run = run
        self._offer.withdraw()
        self.changed.emit(run.state)
        self._on_curve()
        self._save_and_submit(run)

    def _save_and_submit(self, run: FinetuneRun) -> None:
        """The worker reads the labels from disk, where the last strokes may not be."""
        store = self.session.store
        if store is None:
            run.submit()
            return

        def flush() -> FinetuneRun:
            store.flush()
            return run

        self._background.run(flush, self._on_saved, self._on_not_saved)

    def _on_saved(self, run: FinetuneRun) -> None:
        if self._run is run:  # not discarded meanwhile
            with self._reported():
                run.submit()

    def _on_not_saved(self, error: Exception) -> None:
        if self.state.phase == FinetunePhase.SAVING:
            self._fail(problem_of(error))

    def _on_curve(self) -> None:
        if self._run is not None:
            self.points, self.steps = self._run.points, self._run.steps
            self.curve_changed.emit()

    def _on_ended(self, result: FinetuneResult) -> None:
        self._end()
        self.ended.emit(result)
        self.versions_changed.emit()

    def _on_cancelled(self) -> None:
        run = self._run
        if run is not None:
            self._end()
            self._remove(run.project, run.folder)

    def _on_opened(self) -> None:
        project, run = self.session.project, self._run
        if run is not None and project is not None and project.path == run.project:
            return  # only another case
        self.leave()
        self.points, self.steps = [], 0
        self.curve_changed.emit()
        self._offer.look(project)

    def _remove(self, project: Path, folder: Path) -> None:
        """Remove a job's folder, which may hold much, in a thread."""
        self._offer.withdraw()
        self._background.run(
            lambda: discard_job(Project.open(project), folder),
            self._on_removed,
            self._on_thread_error,
        )

    def _on_removed(self, removed: bool) -> None:
        if removed:
            self.notice.emit("Discarded. The model is as it was.")
        else:
            self.notice.emit("It had ended before: see the versions of the model.")
            self.versions_changed.emit()

    def _on_thread_error(self, error: Exception) -> None:
        self.problem.emit(problem_of(error))

    def _fail(self, problem: Problem) -> None:
        """Give up; what is on disk can be resumed."""
        run = self._run
        if run is not None:
            self._end()
            if not has_begun(run.folder):
                with suppress(E2MISegError, OSError):  # there is nothing in it
                    discard_job(Project.open(run.project), run.folder)
            self._offer.look(self.session.project)
        self.problem.emit(problem)

    def _end(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.blockSignals(True)
            run.deleteLater()
        self.changed.emit(self.state)

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        """The one place that catches everything: the user is told, the job ends."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self._fail(problem_of(error))
