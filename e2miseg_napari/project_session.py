"""The project in the window and the case on show.

All disk work happens in threads, one after the other; only `close` and `trouble` wait,
since what is painted must be on disk when the window has gone.
"""

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal

from e2miseg_core.boxes import Box
from e2miseg_core.errors import ConfigError, E2MISegError
from e2miseg_core.io.naming import same_place
from e2miseg_core.progress import Progress
from e2miseg_core.project import Case, CasePrediction, LabelStore, Project
from e2miseg_napari.background import Background
from e2miseg_napari.case_layers import CaseLayers
from e2miseg_napari.case_opening import (
    OpenCase,
    OpenProject,
    ResultMaps,
    add_case,
    create_project,
    open_case,
)
from e2miseg_napari.images import ImageChoice
from e2miseg_napari.label_layer import PyramidLabels
from e2miseg_napari.labels_watch import LabelsWatch
from e2miseg_napari.merging import Merges, Opened
from e2miseg_napari.preview import Preview
from e2miseg_napari.problems import problem_of
from e2miseg_napari.task_queue import TaskQueue, Unwanted

__all__ = ["ProjectSession"]

_INTERVAL_MS = 200
_RETRY_MS = 5000  # until a disk that refused is asked again


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
    removed = Signal()  # the user has removed the case's image, or has it back
    predicted = Signal()  # the newest prediction is merged and on show
    problem = Signal(object)  # Problem
    notice = Signal(str)  # a line about what is going on; empty when it is done

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layers = CaseLayers(viewer)
        self._background = Background(self)
        self._queue: TaskQueue[Opened] = TaskQueue(
            self._background, self._adopt, self._on_error
        )
        self._held: OpenProject | None = None
        self._shown: OpenCase | None = None
        self._taken = ""  # case whose labels the user has removed
        self._taken_image = ""  # its address
        self._merges = Merges(self._background, self._on_merged, self._on_error)
        self._watch = LabelsWatch(
            self._layers.redraw, self.edited.emit, self.saved.emit
        )
        self._progress: Progress | None = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_tick)
        self._retry = QTimer(self)
        self._retry.timeout.connect(self._on_retry)
        self._tidy = QTimer(self)
        self._tidy.setSingleShot(True)
        self._tidy.timeout.connect(self._layers.tidy)
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
    def taken_away(self) -> str:
        """What of the case the user has removed from the viewer; see `show_again`."""
        if self._held is not None and self._taken and self._shown is None:
            return "labels"
        return "image" if self.store is not None and self.image_layer is None else ""

    def is_left_for(self, uri: str) -> bool:
        """Whether the user has removed a case's labels and opened another image.

        Parameters
        ----------
        uri : str
            Of the image that is chosen.
        """
        if self.taken_away != "labels":
            return False
        return not uri or not same_place(uri, self._taken_image)

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
    def edge_layer(self) -> Image | None:
        """Edge probability of the merged prediction, where its model has told it."""
        return self._layers.edge_map

    @property
    def busy(self) -> bool:
        """Whether something is being opened or merged."""
        return self._queue.busy or self._merges.busy

    @property
    def unsaved(self) -> bool:
        """Whether a case that is closed has edits which are not on disk yet."""
        return self._queue.closing

    def create(self, path: Path, model: str | Path) -> None:
        """Make a project that begins with a model, and open it."""
        self._do(lambda _unwanted: Opened(project=create_project(path, model)))

    def open(self, path: Path, *, case: str | None = None) -> None:
        """Open a project and show a case of it, the first one if none is named."""
        self._do(lambda _unwanted: self._open(Path(path), case))

    def show_case(self, name: str) -> None:
        """Show another case of the open project."""

        def task(_unwanted: Unwanted) -> Opened:
            return self._open_case(self._project().project.case(name))

        self._do(task)

    def add_image(self, choice: ImageChoice) -> None:
        """Make the case of an image in the viewer, and show it.

        Where that fails, nothing is left of a project that was just made for it.
        """

        def task(unwanted: Unwanted) -> Opened:
            held = self._project()
            try:
                case = add_case(
                    held.project,
                    choice,
                    on_progress=self._keep_progress,
                    cancelled=unwanted,
                )
            except Exception:
                if not unwanted():
                    held.remove_if_empty()
                raise
            result = self._open_case(case)
            result.image = choice.layer
            return result

        self._do(task)

    def relocate(self, path: Path) -> None:
        """Tell the case where its image is now, and show it."""

        def task(_unwanted: Unwanted) -> Opened:
            shown = self._shown
            if shown is None:
                raise _nothing_open(case=True)
            shown.case.relocate(path)
            return self._open_case(shown.case)

        self._do(task)

    def bring_image_back(self) -> None:
        """Show the case's image again where the user has removed it."""
        self._layers.bring_image_back()
        self.removed.emit()

    def show_again(self) -> None:
        """Show what the user has removed; see `taken_away`."""
        if self.taken_away == "labels":
            self.show_case(self._taken)
        else:
            self.bring_image_back()

    def merge(self, prediction: CasePrediction) -> None:
        """Put a prediction where no human spoke; the user may go on painting.

        One of another case is left to the moment when that case is shown.
        """
        shown, store = self._shown, self.store
        if shown is None or store is None:
            return
        if prediction.folder.parent.parent != shown.case.folder:
            return
        self._merges.merge(store, prediction)

    def show_preview(self, preview: Preview | None) -> bool:
        """Show the case's first prediction as it grows; None ends that.

        A later one is shown when it is complete: until then verdicts are about the
        labels and edges that are there. Returns whether it is one to be shown.
        """
        shown = self._shown
        wanted = preview is None or (shown is not None and shown.merged is None)
        if wanted:
            self._layers.show_preview(preview)
        return wanted

    def follow(self, boxes: Collection[Box]) -> None:
        """Draw what the preview has got."""
        self._layers.follow(boxes)

    def leave(self) -> None:
        """Close the project as `close` does, without waiting: errors are told later."""
        was_open = self._held is not None
        self._queue.drop()
        self._leave(project=True)
        if was_open:
            self.opened.emit()

    def close(self) -> None:
        """Write what is not written yet, and let others edit the project.

        What the disk refuses is kept, and tried again; see `trouble`.
        """
        was_open = self._held is not None
        self._queue.close_again()
        self.leave()
        self._queue.wait_until_closed()
        if not self._queue.closing:
            self._timer.stop()
            self._retry.stop()
        if was_open:
            self.saved.emit(not self._tell_errors())

    def trouble(self) -> str:
        """Why edits of any case cannot be saved, in words; empty when all are.

        Waits until they are, or until the disk has refused them once more.
        """
        errors = self._queue.trouble()
        try:
            if self.store is not None:
                self.store.flush()
        except (E2MISegError, OSError) as error:
            errors.append(error)
        return "\n".join(dict.fromkeys(problem_of(error).line for error in errors))

    def _do(self, task: Callable[[Unwanted], Opened]) -> None:
        self._timer.start(_INTERVAL_MS)
        self._queue.add(task)

    def _project(self) -> OpenProject:
        if self._held is None:
            raise _nothing_open(case=False)
        return self._held

    def _open(self, path: Path, name: str | None) -> Opened:
        project, held = Project.open(path), self._held
        if held is not None and held.project.path == project.path:
            project, new = held.project, None
        else:
            self._check_closed(project.path)
            new = OpenProject(project=project, lock=project.lock())
        try:
            name = name or next(iter(project.cases), None)
            result = self._open_case(project.case(name)) if name else Opened()
        except Exception:
            if new is not None:
                new.close()
            raise
        result.project = new
        return result

    def _open_case(self, case: Case) -> Opened:
        shown = self._shown
        if shown and shown.store and shown.case.folder == case.folder:
            return Opened(shown=case.name)
        self._check_closed(case.folder)
        return Opened(case=open_case(case))

    def _check_closed(self, folder: Path) -> None:
        """Raise what keeps us from closing a folder that we have had open."""
        for opened, error in self._queue.kept:
            if folder in opened.folders:
                raise error

    def _adopt(self, result: Opened) -> None:
        """Show what a thread has opened, instead of what was shown before."""
        self.notice.emit("")
        if result.project is not None:
            self._leave(project=True)
            self._held = result.project
        if result.case is not None:
            self._leave(project=False)
            if self._held is not None:
                self._held.cases.add(result.case)
            self._show(result.case, result.image)
        if result.shown and self.store is None:  # taken away by the user meanwhile
            self.show_case(result.shown)
            return
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
        if store.notes:  # nothing has failed
            self.notice.emit(" ".join(store.notes))
        self._watch.follow(store)
        self._layers.show(opened, store, image)

    def _leave(self, *, project: bool, later: bool = False) -> None:
        """Take away the case, and the project where that is closed too.

        Its layers go `later` where napari is removing layers just now.
        """
        shown, self._shown, self._taken = self._shown, None, ""
        merging = self._merges.leave()
        held = None
        if project:
            held, self._held = self._held, None
        if later:
            self._layers.let_go()
            self._tidy.start(0)
        else:
            self._layers.remove()
        if shown is not None or held is not None:
            self._queue.close_soon(Opened(case=shown, project=held, merging=merging))
            self._retry.start(_RETRY_MS)

    def _on_merged(self, maps: ResultMaps, last: bool) -> None:
        if self._shown is not None:
            self._shown.merged = maps.prediction
            self._layers.show_maps(maps)
            self._on_tick()
            if last:  # else it is out of date by now
                self.predicted.emit()

    def _on_removed(self, event: Any) -> None:
        had_image = self.image_layer is not None
        if self._layers.forget(event.value):  # by the user
            case = self.case
            self._leave(project=False, later=True)
            if case is not None:
                self._taken, self._taken_image = case.name, case.image_uri
            self.opened.emit()
        elif had_image and self.image_layer is None:
            self.removed.emit()

    def _on_retry(self) -> None:
        """Ask a disk again that has refused; what it refuses is not told twice."""
        if self._queue.closing:
            self._queue.close_again()
            return
        self._retry.stop()

    def _on_tick(self) -> None:
        over = not (self._held or self._queue.busy or self._queue.closing)
        self._tell_errors()
        if over:
            self._timer.stop()
        progress, self._progress = self._progress, None
        if progress is not None and self._queue.busy:
            percent = round(100 * progress.done / max(progress.total, 1))
            self.notice.emit(f"{progress.stage}: {percent} %")
        if self.store is None:
            return
        begun = time.perf_counter()
        self._watch.look(self.store)
        # A large 3D view takes long to draw: it may have a tenth of the time.
        spent_ms = 1000 * (time.perf_counter() - begun)
        self._timer.setInterval(max(_INTERVAL_MS, round(10 * spent_ms)))

    def _keep_progress(self, step: Progress) -> None:
        self._progress = step  # told by the timer, on the GUI thread

    def _tell_errors(self) -> bool:
        errors = self._queue.errors() + self._watch.failures()
        problems = [problem_of(error) for error in errors]
        for problem in dict.fromkeys(problems):
            self.problem.emit(problem)
        return bool(errors)

    def _on_error(self, error: Exception) -> None:
        self.notice.emit("")
        self.problem.emit(problem_of(error))
        if self._held is not None and self._held.removed:
            self._leave(project=True)
            self.opened.emit()


def _nothing_open(*, case: bool) -> ConfigError:
    what = "case" if case else "project"
    return ConfigError(
        found=f"no {what} is open", needed=f"an open {what}", do="open one first"
    )
