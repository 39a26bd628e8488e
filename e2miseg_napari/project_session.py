"""The project in the window and the case on show.

All disk work happens in threads, one after the other; only `close` waits, since what
is painted must be on disk when the window has gone.
"""

import collections
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal

from e2miseg_core.errors import ConfigError
from e2miseg_core.progress import Progress
from e2miseg_core.project import Case, CasePrediction, LabelStore, Project
from e2miseg_napari.background import Background
from e2miseg_napari.case_layers import CaseLayers
from e2miseg_napari.case_opening import (
    Merging,
    OpenCase,
    OpenProject,
    add_case,
    open_case,
)
from e2miseg_napari.images import ImageChoice
from e2miseg_napari.label_layer import PyramidLabels
from e2miseg_napari.problems import Problem, problem_of
from e2miseg_napari.task_queue import TaskQueue, Unwanted

if TYPE_CHECKING:
    from e2miseg_core.boxes import Box

__all__ = ["ProjectSession"]

_INTERVAL_MS = 200


@dataclass(eq=False, kw_only=True)
class _Opened:
    """What a task in a thread has opened; nothing where it is open already."""

    project: OpenProject | None = None
    case: OpenCase | None = None
    image: Image | None = None  # shows the case's image already

    def close(self) -> None:
        with contextlib.ExitStack() as parts:  # the last one first
            for part in (self.project, self.case):
                if part is not None:
                    parts.callback(part.close)


class ProjectSession(QObject):
    """The open project, and the case that the viewer shows.

    What is asked for is done in the order in which it was asked; after a problem the
    rest of it is dropped.

    Parameters
    ----------
    viewer : ViewerModel
        That shows the layers.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    opened = Signal()  # another project or case is shown, or none any more
    edited = Signal()  # labels have changed
    saved = Signal(bool)  # whether everything is on disk
    predicted = Signal()  # the newest prediction is merged and on show
    problem = Signal(object)  # Problem
    notice = Signal(str)  # a line about what is going on; empty when it is done

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layers = CaseLayers(viewer)
        self._background = Background(self)
        self._queue: TaskQueue[_Opened] = TaskQueue(
            self._background, self._adopt, self._on_error
        )
        self._held: OpenProject | None = None
        self._shown: OpenCase | None = None
        self._merging: Merging | None = None
        self._changed: collections.deque[Box] = collections.deque()
        self._failures: collections.deque[Exception] = collections.deque()
        self._progress: Progress | None = None
        self._seen = (0, True)  # edits made, and whether they are on disk
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_tick)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def project(self) -> Project | None:
        """The open project."""
        return None if self._held is None else self._held.project

    @property
    def case(self) -> Case | None:
        """The case on show, or whose image is missing."""
        return None if self._shown is None else self._shown.case

    @property
    def store(self) -> LabelStore | None:
        """Labels of the case; None where its image is missing."""
        return None if self._shown is None else self._shown.store

    @property
    def missing_image(self) -> str:
        """Where the case's image was looked for in vain; see `relocate`."""
        shown = self._shown
        return shown.uri if shown and shown.problem else ""

    @property
    def image_layer(self) -> Image | None:
        """Image of the case; of several channels the first."""
        return self._layers.image

    @property
    def labels_layer(self) -> PyramidLabels | None:
        """Labels of the case."""
        return self._layers.labels

    @property
    def error_layer(self) -> Image | None:
        """Error map of the merged prediction."""
        return self._layers.error_map

    @property
    def busy(self) -> bool:
        """Whether something is being opened or merged."""
        return self._queue.busy or self._merging is not None

    def create(self, path: Path, model: str | Path) -> None:
        """Make a project that begins with a model, and open it."""

        def task(_unwanted: Unwanted) -> _Opened:
            project = Project.create(path, model=model)
            return _Opened(project=OpenProject(project=project, lock=project.lock()))

        self._do(task)

    def open(self, path: Path, *, case: str | None = None) -> None:
        """Open a project and show a case of it, the first one if none is named."""
        self._do(lambda _unwanted: self._open(Path(path), case))

    def show_case(self, name: str) -> None:
        """Show another case of the open project."""

        def task(_unwanted: Unwanted) -> _Opened:
            return self._open_case(self._project().case(name))

        self._do(task)

    def add_image(self, choice: ImageChoice) -> None:
        """Make the case of an image in the viewer, and show it."""

        def task(unwanted: Unwanted) -> _Opened:
            case = add_case(
                self._project(),
                choice,
                on_progress=self._keep_progress,
                cancelled=unwanted,
            )
            result = self._open_case(case)
            result.image = choice.layer
            return result

        self._do(task)

    def relocate(self, path: Path) -> None:
        """Tell the case where its image is now, and show it."""

        def task(_unwanted: Unwanted) -> _Opened:
            shown = self._shown
            if shown is None:
                raise _nothing_open(case=True)
            shown.case.relocate(path)
            return self._open_case(shown.case)

        self._do(task)

    def merge(self, prediction: CasePrediction) -> None:
        """Put a prediction where no human spoke; the user may go on painting.

        One of another case is left to the moment when that case is shown.
        """
        shown, store = self._shown, self.store
        if shown is None or store is None:
            return
        if prediction.folder.parent.parent != shown.case.folder:
            return
        if self._merging is not None:
            self._merging.next = prediction
            return
        merging = Merging(store, prediction)
        self._merging = merging

        def done(error_map: Any) -> None:
            if self._merging is merging:
                self._on_merged(merging, error_map)

        def failed(error: Exception) -> None:
            if self._merging is merging:
                self._merging = None
                self.problem.emit(problem_of(error))

        self._background.run(merging.work, done, failed)

    def close(self) -> None:
        """Write what is not written yet, and let others edit the project."""
        was_open = self._held is not None
        self._queue.drop()
        self._leave(project=True)
        self._queue.wait_until_closed()
        self._timer.stop()
        if was_open:
            self.saved.emit(not self._tell_errors())
            self.opened.emit()

    def _do(self, task: Callable[[Unwanted], _Opened]) -> None:
        self._timer.start(_INTERVAL_MS)
        self._queue.add(task)

    def _project(self) -> Project:
        if self._held is None:
            raise _nothing_open(case=False)
        return self._held.project

    def _open(self, path: Path, name: str | None) -> _Opened:
        project, held = Project.open(path), self._held
        if held is not None and held.project.path == project.path:
            project, new = held.project, None
        else:
            new = OpenProject(project=project, lock=project.lock())
        try:
            name = name or next(iter(project.cases), None)
            result = self._open_case(project.case(name)) if name else _Opened()
        except Exception:
            if new is not None:
                new.close()
            raise
        result.project = new
        return result

    def _open_case(self, case: Case) -> _Opened:
        shown = self._shown
        if shown and shown.store and shown.case.folder == case.folder:
            return _Opened()
        return _Opened(case=open_case(case))

    def _adopt(self, result: _Opened) -> None:
        """Show what a thread has opened, instead of what was shown before."""
        self.notice.emit("")
        if result.project is not None:
            self._leave(project=True)
            self._held = result.project
        if result.case is not None:
            self._leave(project=False)
            self._show(result.case, result.image)
        self.opened.emit()
        shown = self._shown
        if shown is None or shown.newest is None:
            return
        if shown.merged is None or shown.merged.number < shown.newest.number:
            self.merge(shown.newest)

    def _show(self, opened: OpenCase, image: Image | None) -> None:
        self._shown = opened
        if opened.problem is not None:
            self.problem.emit(problem_of(opened.problem))
        store = opened.store
        if store is None:
            return
        for note in store.notes:
            self.problem.emit(Problem(line=note))
        self._changed.clear()
        store.changed.append(self._changed.append)
        store.failed.append(self._failures.append)
        self._seen = (store.seq, store.saved_seq >= store.seq)
        self.saved.emit(self._seen[1])
        self._layers.show(opened, store, image)

    def _leave(self, *, project: bool) -> None:
        """Take away the case, and the project where that is closed too."""
        shown, self._shown = self._shown, None
        merging, self._merging = self._merging, None
        held = None
        if project:
            held, self._held = self._held, None
        self._layers.remove()

        def close() -> None:
            if merging is not None:
                merging.stop()
            _Opened(case=shown, project=held).close()

        if shown is not None or held is not None:
            self._queue.close_soon(close)

    def _on_merged(self, merging: Merging, error_map: Any) -> None:
        self._merging = None
        if error_map is not None and self._shown is not None:
            self._shown.merged = merging.prediction
            path = str(merging.prediction.error_map)
            self._layers.swap_error_map(error_map, path)
            self._on_tick()
            self.predicted.emit()
        if merging.next is not None:
            self.merge(merging.next)

    def _on_removed(self, event: Any) -> None:
        if self._layers.forget(event.value):  # by the user
            self._leave(project=False)
            self.opened.emit()

    def _on_tick(self) -> None:
        self._tell_errors()
        progress, self._progress = self._progress, None
        if progress is not None and self._queue.busy:
            percent = round(100 * progress.done / max(progress.total, 1))
            self.notice.emit(f"{progress.stage}: {percent} %")
        if self.store is not None:
            self._follow(self.store)

    def _follow(self, store: LabelStore) -> None:
        """Draw and tell what has happened to the labels since the last time."""
        begun = time.perf_counter()
        boxes = {self._changed.popleft() for _ in range(len(self._changed))}
        self._layers.redraw(boxes)
        before, self._seen = self._seen, (store.seq, store.saved_seq >= store.seq)
        if boxes or self._seen[0] != before[0]:
            self.edited.emit()
        if self._seen[1] != before[1]:
            self.saved.emit(self._seen[1])
        # A large 3D view takes long to draw: it may have a tenth of the time.
        spent_ms = 1000 * (time.perf_counter() - begun)
        self._timer.setInterval(max(_INTERVAL_MS, round(10 * spent_ms)))

    def _keep_progress(self, step: Progress) -> None:
        self._progress = step  # told by the timer, on the GUI thread

    def _tell_errors(self) -> bool:
        errors = self._queue.errors()
        errors += [self._failures.popleft() for _ in range(len(self._failures))]
        for error in errors:
            self.problem.emit(problem_of(error))
        return bool(errors)

    def _on_error(self, error: Exception) -> None:
        self.notice.emit("")
        self.problem.emit(problem_of(error))


def _nothing_open(*, case: bool) -> ConfigError:
    what = "case" if case else "project"
    return ConfigError(
        found=f"no {what} is open", needed=f"an open {what}", do="open one first"
    )
