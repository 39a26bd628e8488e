"""The one place that knows the viewer, the engine and the volumes."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QObject, Signal
from superqt.utils import GeneratorWorker

from e2miseg_core.geometry import Geometry
from e2miseg_core.models import ModelEntry
from e2miseg_core.progress import Progress
from e2miseg_napari.background import Background
from e2miseg_napari.convert import LayerData
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.exporting import export_array
from e2miseg_napari.images import ImageChoice, iter_images
from e2miseg_napari.jobs import PredictJob
from e2miseg_napari.predictions import Prediction, find_predictions, result_metadata
from e2miseg_napari.problems import Problem, problem_of, problem_of_job
from e2miseg_napari.protocol import (
    Block,
    JobCancelled,
    JobFailed,
    JobProgress,
    JobStores,
    PredictResult,
    Warned,
)
from e2miseg_napari.readers import read_layers
from e2miseg_napari.result_view import ResultView
from e2miseg_napari.session import SessionFolder
from e2miseg_napari.wording import progress_in_words, time_in_words

__all__ = ["Controller", "JobState", "Options", "Phase"]


class Phase(Enum):
    """What the controller is doing."""

    IDLE = auto()
    PREPARING = auto()  # an image in memory is written to a store
    STARTING = auto()  # the engine has the job and has not said more
    RUNNING = auto()
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
    """The job in hand."""

    id: str
    choice: ImageChoice
    entry: ModelEntry
    options: Options
    geometry: Geometry
    folder: Path
    title: str
    image: str = ""  # what the worker opens
    export: GeneratorWorker | None = None

    def job(self) -> PredictJob:
        """What the worker is asked for."""
        return PredictJob(
            id=self.id,
            image=self.image,
            model=str(self.entry.path),
            output=str(self.folder),
            device=self.options.device,
            mirror=self.options.mirror,
        )

    def metadata(self) -> dict[str, Any]:
        """What its layers are to know."""
        model = {
            "model": str(self.entry.path),
            "options": asdict(self.options),
            "classes": [asdict(label) for label in self.entry.card.labels],
        }
        return result_metadata(self.id, self.title, self.image, self.geometry, model)


class Controller(QObject):
    """Opens volumes, runs predictions, and shows their results as layers.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers are used.
    client : EngineClient, optional
        To the worker.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    images_changed = Signal()
    predictions_changed = Signal()
    job_changed = Signal(object)  # JobState
    notice = Signal(str)  # one line that is no error
    problem = Signal(object)  # Problem

    def __init__(
        self,
        viewer: ViewerModel,
        client: EngineClient | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.client = client or EngineClient(parent=self)
        self._session = SessionFolder()
        self._background = Background(self)
        self._view = ResultView(viewer, self)
        self._running: _Running | None = None
        self._state = JobState(phase=Phase.IDLE)
        self._connect_client()
        events = viewer.layers.events
        for event in (events.inserted, events.reordered, events.renamed):
            event.connect(self._on_layers)
        events.removed.connect(self._on_removed)

    def _connect_client(self) -> None:
        client = self.client
        client.progress.connect(self._on_progress)
        client.stores.connect(self._on_stores)
        client.block.connect(self._on_block)
        client.result.connect(self._on_result)
        client.cancelled.connect(self._on_cancelled)
        client.error.connect(self._on_error)
        client.warning.connect(self._on_warning)
        client.gone.connect(self._on_gone)

    @property
    def state(self) -> JobState:
        """What is being done."""
        return self._state

    def images(self) -> list[ImageChoice]:
        """Images of the viewer that can be predicted."""
        return list(iter_images(self._viewer.layers))

    def predictions(self) -> list[Prediction]:
        """Predictions in the viewer, the oldest first."""
        return find_predictions(self._viewer.layers)

    def unsaved(self) -> list[Prediction]:
        """Predictions that closing the viewer would lose."""
        return [one for one in self.predictions() if one.unsaved]

    def open_path(self, path: str | Path) -> None:
        """Open a volume as layers; its header and sample are read in a thread."""
        self.notice.emit(f"Opening {Path(path).name}…")
        self._background.run(
            lambda: read_layers(path), self._add_layers, self._on_thread_error
        )

    def predict(self, choice: ImageChoice, entry: ModelEntry, options: Options) -> None:
        """Start a prediction; one runs at a time."""
        if self._running is not None:
            return
        with self._reported():
            name = self.client.next_id()
            running = _Running(
                id=name,
                choice=choice,
                entry=entry,
                options=options,
                geometry=choice.geometry(),
                folder=self._session.new_folder(name),
                title=f"{entry.name} – {choice.title}",
                image=choice.uri,
            )
            self._running = running
            if running.image:
                self._submit()
            else:
                self._export(running)

    def cancel(self) -> None:
        """Stop the prediction; its incomplete layers are removed."""
        running = self._running
        if running is None or self._state.phase == Phase.CANCELLING:
            return
        if running.export is not None:
            running.export.quit()
            self._give_up("Cancelled.")
            return
        self._show(JobState(phase=Phase.CANCELLING, line="cancelling…"))
        self.client.cancel(running.id)

    def shutdown(self, *, at_once: bool = False) -> None:
        """Stop everything that runs; `at_once` when no event loop will follow."""
        if self._running is not None:
            if self._running.export is not None:
                self._running.export.quit()
            self._give_up("")
        if at_once:
            self.client.kill()
        else:
            self.client.shutdown()

    def _export(self, running: _Running) -> None:
        layer = running.choice.layer
        array = layer.data[0] if layer.multiscale else layer.data
        path = running.folder / "image.ome.zarr"
        geometry = running.geometry
        self._show(JobState(phase=Phase.PREPARING, line="preparing the image…"))

        def steps() -> Generator[Progress, None, Path]:
            return (yield from export_array(array, geometry, path))

        def done(written: Path) -> None:
            if self._running is running:
                running.image, running.export = str(written), None
                self._submit()

        def failed(error: Exception) -> None:
            if self._running is running:
                self._fail(problem_of(error))

        running.export = self._background.run_steps(steps, self._on_step, done, failed)

    def _submit(self) -> None:
        running = self._running
        if running is None:
            return
        warm = self.client.info is not None
        line = "reading the image…" if warm else "starting the engine…"
        self._show(JobState(phase=Phase.STARTING, line=line))
        self.client.submit(running.job())

    def _on_step(self, step: Progress) -> None:
        if self._state.phase == Phase.PREPARING:
            line = f"{step.stage}…"
            self._show(
                JobState(
                    phase=Phase.PREPARING, line=line, done=step.done, total=step.total
                )
            )

    def _on_progress(self, step: JobProgress) -> None:
        cancelling = self._state.phase == Phase.CANCELLING
        if self._own(step) is None or cancelling:
            return
        line = progress_in_words(step)
        self._show(
            JobState(phase=Phase.RUNNING, line=line, done=step.done, total=step.total)
        )

    def _own(self, event: Any) -> _Running | None:
        """The job in hand, if the event is one of its."""
        running = self._running
        return running if running is not None and running.id == event.id else None

    def _on_stores(self, event: JobStores) -> None:
        running = self._own(event)
        if running is None:
            return
        with self._reported():
            stores = {"labels": event.labels, "error_map": event.error_map}
            self._view.begin(
                running.choice.layer,
                stores,
                running.entry.card.labels,
                running.metadata(),
            )

    def _on_block(self, event: Block) -> None:
        if self._own(event) is not None:
            self._view.add(event.box)

    def _on_result(self, event: PredictResult) -> None:
        if self._own(event) is None:
            return
        with self._reported():
            self._view.finish(event.voxels)
            self._end()
        self.predictions_changed.emit()
        took = time_in_words(event.seconds).removeprefix("about ")
        self.notice.emit(f"Done in {took}.")

    def _on_cancelled(self, event: JobCancelled) -> None:
        if self._own(event) is not None:
            self._give_up("Cancelled. The incomplete result was removed.")

    def _on_error(self, event: JobFailed) -> None:
        if self._own(event) is not None:
            self._fail(problem_of_job(event))

    def _on_warning(self, event: Warned) -> None:
        self.notice.emit(event.message)

    def _on_gone(self, line: str) -> None:
        self.problem.emit(Problem(line=line))

    def _on_layers(self, _event: object = None) -> None:
        self.images_changed.emit()
        self.predictions_changed.emit()

    def _on_removed(self, event: Any) -> None:
        running = self._running
        if running is not None:
            chosen = event.value is running.choice.layer
            if chosen or self._view.needs(event.value):
                self.cancel()
        self._on_layers()

    def _add_layers(self, layers: list[LayerData]) -> None:
        with self._reported():
            added = [Layer.create(*layer) for layer in layers]
            for layer in added:
                self._viewer.add_layer(layer)
            if len(self._viewer.layers) == len(added):
                self._viewer.reset_view()
            self.notice.emit("")

    def _on_thread_error(self, error: Exception) -> None:
        self.problem.emit(problem_of(error))

    def _fail(self, problem: Problem) -> None:
        self._give_up("")
        self.problem.emit(problem)

    def _give_up(self, line: str) -> None:
        """End the job without a result."""
        self._end()
        self._view.drop()
        if line:
            self.notice.emit(line)

    def _end(self) -> None:
        self._running = None
        self._show(JobState(phase=Phase.IDLE))

    def _show(self, state: JobState) -> None:
        self._state = state
        self.job_changed.emit(state)

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        """The one place that catches everything: the user is told, the job ends."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            if self._running is not None:
                self.client.cancel(self._running.id)
            self._fail(problem_of(error))
