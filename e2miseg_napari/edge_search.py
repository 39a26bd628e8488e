"""Has the uncertain edges of the case on show ranked anew by the engine."""

from typing import Any

from qtpy.QtCore import QObject, Signal

from e2miseg_core.errors import E2MISegError
from e2miseg_core.project import Case
from e2miseg_napari.background import Background
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.jobs import EdgesJob
from e2miseg_napari.problems import problem_of, problem_of_job
from e2miseg_napari.project_session import ProjectSession
from e2miseg_napari.protocol import JobFailed, JobProgress
from e2miseg_napari.review import Review

__all__ = ["EdgeSearch"]


class EdgeSearch(QObject):
    """Answers `Review.edges_asked`.

    Parameters
    ----------
    session : ProjectSession
        Whose case.
    client : EngineClient
        To the worker.
    review : Review
        That asks, and gets the answer.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    problem = Signal(object)  # Problem

    def __init__(
        self,
        session: ProjectSession,
        client: EngineClient,
        review: Review,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._client, self._review = session, client, review
        self._background = Background(self)
        self._job = ""
        review.edges_asked.connect(self.begin)
        client.progress.connect(self._on_progress)
        client.result.connect(self._on_end)
        client.cancelled.connect(self._on_end)
        client.error.connect(self._on_error)

    def begin(self) -> None:
        """Look for edges; what was painted last goes to disk before.

        Where the newest prediction is not merged, that is done instead.
        """
        project, case = self._session.project, self._session.case
        store = self._session.store
        if self._job or project is None or case is None or store is None:
            return
        if self._merge_newest(case):
            return
        job = EdgesJob(
            id=self._client.next_id(), project=str(project.path), case=case.name
        )
        self._job = job.id
        self._review.show_search("looking for uncertain edges…")

        def done(_: None) -> None:
            self._client.submit(job)

        def failed(error: Exception) -> None:
            self._job = ""
            self._review.show_search("")
            self.problem.emit(problem_of(error))

        self._background.run(store.flush, done, failed)

    def _merge_newest(self, case: Case) -> bool:
        """Merge a prediction whose merge has failed before: the search is in it."""
        try:
            newest, merged = case.prediction, case.merged
        except E2MISegError as error:
            self.problem.emit(problem_of(error))
            return True
        if newest is None or (merged is not None and merged.number == newest.number):
            return False
        self._session.merge(newest)
        return True

    def _mine(self, event: Any) -> bool:
        return bool(self._job) and event.id == self._job

    def _on_progress(self, step: JobProgress) -> None:
        if self._mine(step) and step.total:
            share = 100 * step.done // step.total
            self._review.show_search(f"looking for uncertain edges, {share} %")

    def _on_end(self, event: Any) -> None:
        if self._mine(event):
            self._job = ""
            self._review.reload()

    def _on_error(self, event: JobFailed) -> None:
        if self._mine(event):
            self._job = ""
            self._review.show_search("")
            self.problem.emit(problem_of_job(event))
