"""Predicts the case on show: through the engine into the project, then on screen."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QObject, Signal

from e2miseg_core.io.naming import same_place
from e2miseg_core.models import ModelEntry
from e2miseg_napari.background import Background
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.images import ImageChoice
from e2miseg_napari.jobs import PredictJob
from e2miseg_napari.live_view import LiveView
from e2miseg_napari.problems import Problem, problem_of, problem_of_job
from e2miseg_napari.project_places import find_project, new_project_path
from e2miseg_napari.project_session import ProjectSession
from e2miseg_napari.protocol import (
    Block,
    JobCancelled,
    JobFailed,
    JobProgress,
    JobStores,
    PredictResult,
)
from e2miseg_napari.wording import progress_in_words, time_in_words

__all__ = ["JobState", "Options", "Phase", "Predicting"]


class Phase(Enum):
    """What is being done."""

    IDLE = auto()
    PREPARING = auto()  # the image becomes a case of a project
    STARTING = auto()  # the engine has the job and has not said more
    RUNNING = auto()
    MERGING = auto()  # into the labels, around what a human has drawn
    CANCELLING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """Phase of the job, a line about it, and steps; `total` is 0 while unknown."""

    phase: Phase
    line: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to predict: the device, and whether to average mirrored copies."""

    device: str = "auto"
    mirror: bool = False


@dataclass(eq=False, kw_only=True)
class _Running:
    """The prediction in hand."""

    id: str
    image: Layer
    title: str  # of the image
    uri: str  # empty where the image is in memory only
    options: Options
    case: Path | None = None  # folder of the case, once there is one
    seconds: float = 0.0
    edges: int = 0


class Predicting(QObject):
    """Runs one prediction at a time and shows it while it grows.

    Parameters
    ----------
    viewer : ViewerModel
        That shows it.
    session : ProjectSession
        The project that predictions go to.
    client : EngineClient
        To the worker.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    changed = Signal(object)  # JobState
    done = Signal()  # the labels on show are those of a new prediction
    notice = Signal(str)  # one line that is no error
    problem = Signal(object)  # Problem

    def __init__(
        self,
        viewer: ViewerModel,
        session: ProjectSession,
        client: EngineClient,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._client = client
        self._view = LiveView(session, self)
        self._background = Background(self)
        self._running: _Running | None = None
        self._state = JobState(phase=Phase.IDLE)
        session.opened.connect(self._on_opened)
        session.predicted.connect(self._on_merged)
        session.problem.connect(self._on_session_problem)
        client.progress.connect(self._on_progress)
        client.stores.connect(self._on_stores)
        client.block.connect(self._on_block)
        client.result.connect(self._on_result)
        client.cancelled.connect(self._on_cancelled)
        client.error.connect(self._on_error)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def state(self) -> JobState:
        """What is being done."""
        return self._state

    @property
    def title(self) -> str:
        """Of the image that is being predicted; empty while none is."""
        return "" if self._running is None else self._running.title

    def predict(self, choice: ImageChoice, entry: ModelEntry, options: Options) -> None:
        """Predict an image, in the open project or in one made for it.

        Parameters
        ----------
        choice : ImageChoice
        entry : ModelEntry
            What a new project begins with; an open one has its own model.
        options : Options
        """
        if self._running is not None:
            return
        name = self._client.next_id()
        self._running = _Running(
            id=name,
            image=choice.layer,
            title=choice.title,
            uri=choice.uri,
            options=options,
        )
        with self._reported():
            if self._is_on_show():
                self._submit()
                return
            self._show(JobState(phase=Phase.PREPARING, line="preparing the image…"))
            known = find_project(choice)
            if self._session.project is not None:
                self._session.add_image(choice)
            elif known is not None:
                self._session.open(known[0], case=known[1])
            else:
                self._session.create(new_project_path(choice), entry.path)
                self._session.add_image(choice)

    def predict_again(self, options: Options) -> None:
        """Predict the case on show with the project's model."""
        image, case = self._session.image_layer, self._session.case
        if self._running is None and image is not None and case is not None:
            name = self._client.next_id()
            self._running = _Running(
                id=name, image=image, title=case.name, uri="", options=options
            )
            with self._reported():
                self._submit()

    def cancel(self) -> None:
        """Stop; what was begun is removed, the labels stay as they are."""
        running = self._running
        if running is None or self._state.phase in (Phase.CANCELLING, Phase.MERGING):
            return
        if self._state.phase == Phase.PREPARING:
            self._give_up("Cancelled.")
            return
        if running.id not in self._client.jobs:  # it has not got to the engine
            self._give_up("Cancelled.")
            return
        self._show(JobState(phase=Phase.CANCELLING, line="cancelling…"))
        self._view.drop()  # the engine is about to remove what it shows
        self._client.cancel(running.id)

    def shutdown(self) -> None:
        """Forget the prediction in hand; the engine is ended by its owner."""
        if self._running is not None:
            self._give_up("")

    def _is_on_show(self) -> bool:
        """Whether the session shows the case of the image to be predicted."""
        running, case = self._running, self._session.case
        if running is None or case is None or self._session.store is None:
            return False
        shown = self._session.image_layer
        return shown is running.image or (
            bool(running.uri) and same_place(running.uri, case.image_uri)
        )

    def _on_opened(self) -> None:
        running, case = self._running, self._session.case
        if running is None:
            return
        if self._state.phase == Phase.PREPARING:
            if self._is_on_show():
                with self._reported():
                    self._submit()
        elif case is None or case.folder != running.case:  # the user went elsewhere
            self._client.cancel(running.id)
            self._give_up("Cancelled: another case is on show.")

    def _submit(self) -> None:
        running, project = self._running, self._session.project
        case = self._session.case
        if running is None or project is None or case is None:
            return
        running.case = case.folder
        store = self._session.store
        warm = self._client.info is not None
        line = "reading the image…" if warm else "starting the engine…"
        self._show(JobState(phase=Phase.STARTING, line=line))
        job = PredictJob(
            id=running.id,
            project=str(project.path),
            case=case.name,
            device=running.options.device,
            mirror=running.options.mirror,
        )

        def done(_: None) -> None:
            if self._running is running:
                self._client.submit(job)

        # The worker reads on disk what a human has said: that is in no doubt.
        if store is not None:
            self._background.run(store.flush, done, self._on_thread_error)

    def _on_thread_error(self, error: Exception) -> None:
        if self._running is not None:
            self._fail(problem_of(error))

    def _mine(self, event: object) -> bool:
        running = self._running
        return running is not None and getattr(event, "id", None) == running.id

    def _on_progress(self, step: JobProgress) -> None:
        if self._mine(step) and self._state.phase != Phase.CANCELLING:
            line = progress_in_words(step)
            self._show(
                JobState(
                    phase=Phase.RUNNING, line=line, done=step.done, total=step.total
                )
            )

    def _on_stores(self, event: JobStores) -> None:
        if self._mine(event) and self._state.phase != Phase.CANCELLING:
            with self._reported():
                self._view.begin(event.labels, event.error_map)

    def _on_block(self, event: Block) -> None:
        if self._mine(event):
            self._view.add(event.box)

    def _on_result(self, event: PredictResult) -> None:
        running, case = self._running, self._session.case
        if running is None or case is None or not self._mine(event):
            return
        running.seconds, running.edges = event.seconds, event.edges or 0
        with self._reported():
            prediction = case.prediction
            if prediction is None:
                msg = f"the engine has left no prediction in {case.folder}"
                raise FileNotFoundError(msg)
            line = "putting it into your labels…"
            self._show(JobState(phase=Phase.MERGING, line=line))
            self._session.merge(prediction)

    def _on_merged(self) -> None:
        running = self._running
        if running is None or self._state.phase != Phase.MERGING:
            return
        self._end()
        self._view.drop()
        took = time_in_words(running.seconds).removeprefix("about ")
        self.notice.emit(f"Done in {took}: {_edges_in_words(running.edges)}")
        self.done.emit()

    def _on_cancelled(self, event: JobCancelled) -> None:
        if self._mine(event):
            self._give_up("Cancelled. The incomplete result was removed.")

    def _on_error(self, event: JobFailed) -> None:
        if self._mine(event):
            self._fail(problem_of_job(event))

    def _on_session_problem(self, problem: Problem) -> None:
        if self._state.phase in (Phase.PREPARING, Phase.MERGING):
            self._fail(problem)
        else:
            self.problem.emit(problem)

    def _on_removed(self, event: object) -> None:
        running, removed = self._running, getattr(event, "value", None)
        if running is not None and removed is running.image:
            self.cancel()

    def _fail(self, problem: Problem) -> None:
        self._give_up("")
        self.problem.emit(problem)

    def _give_up(self, line: str) -> None:
        """End without a result."""
        self._end()
        self._view.drop()
        if line:
            self.notice.emit(line)

    def _end(self) -> None:
        self._running = None
        self._show(JobState(phase=Phase.IDLE))

    def _show(self, state: JobState) -> None:
        self._state = state
        self.changed.emit(state)

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        """Whatever goes wrong here is told, and the prediction ends."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            running = self._running
            if running is not None and running.id in self._client.jobs:
                self._client.cancel(running.id)
            self._fail(problem_of(error))


def _edges_in_words(count: int) -> str:
    if not count:
        return "no edge is uncertain enough to ask about."
    edges = "1 uncertain edge" if count == 1 else f"{count} uncertain edges"
    return f"{edges}, the worst first. Press . to see the next one."
