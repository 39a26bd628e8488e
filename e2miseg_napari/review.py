"""Controller of the review: the uncertain edges of the case on show, one by one."""

from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.utils.events import EventEmitter
from qtpy.QtCore import QObject, Signal

from e2miseg_core.boxes import Box
from e2miseg_core.errors import E2MISegError
from e2miseg_core.project import (
    Case,
    CasePrediction,
    Verdict,
    read_edges,
)
from e2miseg_napari.box_watch import BoxWatch, is_vouched_for
from e2miseg_napari.edge_view import EdgeView
from e2miseg_napari.problems import problem_of
from e2miseg_napari.review_keys import ReviewKeys
from e2miseg_napari.review_queue import Entry, ReviewQueue, Tally, boxes_as_edges
from e2miseg_napari.verdict_writer import Given, VerdictWriter

if TYPE_CHECKING:
    from pathlib import Path

    from e2miseg_napari.project_session import ProjectSession

__all__ = ["Review", "Stage"]


class Stage(Enum):
    """What there is to review."""

    NO_CASE = auto()
    NO_IMAGE = auto()  # the case's image is gone
    NO_PREDICTION = auto()
    NOT_RANKED = auto()  # predicted, but nobody has looked for its edges
    READY = auto()  # there is a list, which may be empty


class Review(QObject):
    """Goes from one uncertain edge to the next and takes down the verdicts.

    Parameters
    ----------
    viewer : ViewerModel
        That is pointed at the edges.
    session : ProjectSession
        The open project.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    changed = Signal()  # another list, another current edge, another verdict
    suggested = Signal(bool)  # whether the current edge looks corrected by now
    edges_asked = Signal()  # the user wants the edges to be looked for
    problem = Signal(object)  # Problem

    def __init__(
        self,
        viewer: ViewerModel,
        session: "ProjectSession",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.session = session
        self._queue = ReviewQueue()
        self._stage = Stage.NO_CASE
        self._of: tuple[Path, int] | None = None  # (case, prediction) of the queue
        self._searching = ""
        self._watched: BoxWatch | None = None
        self._painted = False
        self._writer = VerdictWriter(self)
        self._writer.failed.connect(self._on_not_written)
        self._view = EdgeView(viewer)
        self.open()
        session.opened.connect(self.reload)
        session.predicted.connect(self.reload)
        session.edited.connect(self._on_edited)
        self.reload()

    @property
    def stage(self) -> Stage:
        """What there is to review."""
        return self._stage

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The edges with their verdicts, best first."""
        return self._queue.entries

    @property
    def current(self) -> Entry | None:
        """The edge on show."""
        return self._queue.current

    @property
    def tally(self) -> Tally:
        """How far the review has come."""
        return self._queue.tally()

    @property
    def note(self) -> str:
        """How the chances of error were calibrated."""
        return self._queue.note

    @property
    def searching(self) -> str:
        """How far the search for edges is, in words; empty while there is none."""
        return self._searching

    @property
    def looks_corrected(self) -> bool:
        """Whether somebody has painted in the current edge since it is on show."""
        return self._painted

    def next(self) -> None:
        """Go to the next undecided edge; the worst one first."""
        self._go(self._queue.after(1))

    def previous(self) -> None:
        """Go to the undecided edge before."""
        self._go(self._queue.after(-1))

    def go_to(self, number: int) -> None:
        """Show an edge, decided or not."""
        self._show(self._queue.choose(number))

    def decide(self, verdict: Verdict) -> None:
        """Take down a verdict on the current edge and go to the next undecided one.

        Corrected and fine accept what the machine said in the box, which can be
        undone like a stroke; the verdict itself is changed by giving another one. It
        is taken back where the disk refuses it, which shows a moment later.
        """
        one, case, store = self.current, self.session.case, self.session.store
        if one is None or case is None or store is None or self._of is None:
            return
        with self._reported():
            if verdict != "skipped":
                store.accept(one.edge.box)
            given = Given(
                case=case,
                prediction=self._of[1],
                edge=one.edge,
                verdict=verdict,
                before=one.verdict,
            )
            self._writer.write(given)
            self._queue.decide(verdict)
            if self.tally.undecided:
                self.next()
            else:  # stay, and say so
                self._watch(one.edge.box)

    def take_brush(self) -> None:
        """Make the labels the active layer, so that the tools work on them."""
        layer = self.session.labels_layer
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.selection.active = layer

    def toggle_error_map(self) -> None:
        """Hide the error map, which lies over what is painted, or show it again."""
        layer = self.session.error_layer
        if layer is not None:
            layer.visible = not layer.visible

    def ask_for_edges(self) -> None:
        """Have the edges of the prediction looked for."""
        self.edges_asked.emit()

    def show_search(self, line: str) -> None:
        """Tell how far the search is; an empty line when it has ended."""
        self._searching = line
        self.changed.emit()

    def reload(self) -> None:
        """Read the edges again: of another case, prediction or ranking."""
        current, of = self.current, self._of
        self._searching = ""
        with self._reported():
            self._load()
            current = current if self._of == of else None
            if current is not None:
                current = self._queue.choose_box(current.edge.box)
        self._view.hide()
        if current is None:
            self._watched = None
            self._suggest(False)
        else:
            self._enclose(current.edge.box)
        self.changed.emit()

    def open(self) -> None:
        """Bind the keys and draw the outline, at first and again after `close`."""
        self._keys = ReviewKeys(
            self._viewer,
            {
                ".": self.next,
                ",": self.previous,
                "c": self._decide_corrected,
                "a": self._decide_fine,
                "s": self._decide_skipped,
                "h": self.toggle_error_map,
            },
        )
        self._view.open()
        for event in self._plane_events():
            event.connect(self._on_plane)

    def close(self) -> None:
        """Write what is not written yet; take keys and outline back."""
        self._writer.wait()
        self._keys.close()
        for event in self._plane_events():
            event.disconnect(self._on_plane)
        self._view.close()

    def trouble(self) -> str:
        """Why verdicts cannot be saved, in words; empty when all are. Waits."""
        return "\n".join(problem_of(error).line for error in self._writer.wait())

    def _plane_events(self) -> tuple[EventEmitter, EventEmitter]:
        return self._viewer.dims.events.order, self._viewer.dims.events.ndisplay

    def _load(self) -> None:
        case = self.session.case
        before, entries = self._of, self._queue.entries
        self._queue, self._of = ReviewQueue(), None
        self._stage = Stage.NO_CASE
        if case is None:
            return
        self._stage = Stage.NO_IMAGE
        if self.session.store is None:
            return
        prediction = case.merged
        self._stage = Stage.NO_PREDICTION
        if prediction is None:
            return
        self._of = (case.folder, prediction.number)
        earlier = list(entries) if self._of == before else []
        self._fill(case, prediction, earlier)

    def _fill(
        self, case: Case, prediction: CasePrediction, earlier: list[Entry]
    ) -> None:
        self._stage = Stage.NOT_RANKED
        if not prediction.edges_path.exists():
            return
        log = case.review().latest()
        verdicts = {
            box: verdict
            for (number, box), verdict in log.items()
            if number == prediction.number
        } | self._writer.pending((case.folder, prediction.number))
        known = {one.edge.box for one in earlier}
        lost = {box: verdicts[box] for box in verdicts if box not in known}
        found = read_edges(prediction.edges_path)
        self._queue = ReviewQueue(found, verdicts, [*earlier, *boxes_as_edges(lost)])
        self._queue.check(self._is_vouched_for)
        self._stage = Stage.READY

    def _go(self, one: Entry | None) -> None:
        if one is not None:
            self.go_to(one.edge.number)

    def _show(self, one: Entry | None) -> None:
        layer = self.session.labels_layer
        if one is None or layer is None:
            return
        self._view.show(layer, one.edge)
        self.take_brush()
        self._watch(one.edge.box)

    def _watch(self, box: Box) -> None:
        """Notice from now on when somebody paints in a box."""
        store = self.session.store
        self._watched = None if store is None else BoxWatch(store, box)
        self._suggest(False)
        self.changed.emit()

    def _enclose(self, box: Box) -> None:
        layer = self.session.labels_layer
        if layer is not None:
            self._view.enclose(layer, box)

    def _on_plane(self, _event: object = None) -> None:
        one, layer = self.current, self.session.labels_layer
        if one is not None and layer is not None:
            self._view.stay(layer, one.edge)

    def _on_edited(self) -> None:
        if self._queue.check(self._is_vouched_for):
            self.changed.emit()
        if self._watched is not None:
            self._suggest(self._watched.is_painted())

    def _on_not_written(self, given: Given) -> None:
        """Take a verdict back that the disk has refused."""
        if given.of == self._of:
            self._queue.take_back(given.edge.box, given.verdict, given.before)
            self.changed.emit()
        if given.error is not None:
            self.problem.emit(problem_of(given.error))

    def _is_vouched_for(self, box: Box) -> bool:
        store = self.session.store
        return store is None or is_vouched_for(store, box)

    def _suggest(self, painted: bool) -> None:
        if painted != self._painted:
            self._painted = painted
            self.suggested.emit(painted)

    def _decide_corrected(self) -> None:
        self.decide("corrected")

    def _decide_fine(self) -> None:
        self.decide("fine")

    def _decide_skipped(self) -> None:
        self.decide("skipped")

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        try:
            yield
        except (E2MISegError, OSError) as error:
            self.problem.emit(problem_of(error))
