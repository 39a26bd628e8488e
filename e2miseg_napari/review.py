"""Controller of the review: the uncertain edges of the case on show, one by one."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from qtpy.QtCore import QObject, Signal

from e2miseg_core.boxes import Box
from e2miseg_core.errors import E2MISegError
from e2miseg_core.project import Verdict
from e2miseg_napari.box_watch import is_corrected, is_vouched_for
from e2miseg_napari.case_layers import meets_view
from e2miseg_napari.edge_visit import EdgeVisit
from e2miseg_napari.problems import problem_of
from e2miseg_napari.review_keys import ReviewKeys
from e2miseg_napari.review_list import ReviewList, Stage, find_list, read_list
from e2miseg_napari.review_queue import Entry, ReviewQueue, Tally
from e2miseg_napari.review_tools import ReviewTools
from e2miseg_napari.review_wording import (
    as_fine_in_words,
    polygon_in_words,
    redone_in_words,
    step_in_words,
    undone_in_words,
)
from e2miseg_napari.verdict_writer import Given, VerdictWriter

if TYPE_CHECKING:
    from e2miseg_napari.project_session import ProjectSession

__all__ = ["Review"]


class Review(QObject):
    """Goes from one uncertain edge to the next and takes down the verdicts.

    While a mouse button is held down over the picture nothing is moved or decided:
    a stroke may be under way. Nor is it while a polygon is open: it would stay behind.

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
    noted = Signal(str)  # a line on what a key has done that one might not expect
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
        self._list = ReviewList()
        self._searching = ""
        self._step: Any = None  # undone or redone last, and not looked at yet
        self._writer = VerdictWriter(self)
        self._writer.failed.connect(self._on_not_written)
        self._visit = EdgeVisit(viewer, session, self)
        self._visit.painted_changed.connect(self.suggested)
        self._visit.plane_changed.connect(self.changed)
        self._bind_keys()
        self._tools = ReviewTools(viewer, session, self)
        session.opened.connect(self.reload)
        session.predicted.connect(self.reload)
        session.edited.connect(self._on_edited)
        self.reload()

    @property
    def stage(self) -> Stage:
        """What there is to review."""
        return self._list.stage

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
        return self._visit.painted

    @property
    def slices(self) -> tuple[int, int] | None:
        """First and last slice of the current edge; None in three dimensions."""
        current, dims = self.current, self._viewer.dims
        if current is None or dims.ndim < 3 or dims.ndisplay == 3:
            return None
        axis = dims.not_displayed[-1] - (dims.ndim - 3)
        first, stop = current.edge.box[axis]
        return first, stop - 1

    def next(self) -> None:
        """Go to the next undecided edge, the worst one first; see `ReviewQueue`."""
        self._go(self._queue.after(1))

    def previous(self) -> None:
        """Go to the undecided edge before."""
        self._go(self._queue.after(-1))

    def go_to(self, number: int) -> None:
        """Show an edge, decided or not."""
        if self.session.labels_layer is None or not self._may_move():
            return
        one = self._queue.choose(number)
        if one is not None:
            self._visit.go(one.edge)
            self.changed.emit()

    def decide(self, verdict: Verdict) -> None:
        """Take down a verdict on the current edge and go to the next undecided one.

        Corrected and fine accept what the machine said in the box, which can be
        undone like a stroke; the verdict itself is changed by giving another one. It
        is taken back where the disk refuses it, which shows a moment later. An edge
        in which no label differs from the prediction was not wrong: it is noted as
        fine.
        """
        one, store, case = self.current, self.session.store, self._list.case
        prediction = self._list.prediction
        if one is None or store is None or case is None or prediction is None:
            return
        if not self._may_move():
            return
        with self._reported():
            noted = verdict
            if verdict == "corrected":
                wrong = is_corrected(store, prediction, one.edge.box)
                noted = "corrected" if wrong else "fine"
            if noted != "skipped":
                store.accept(one.edge.box)
            given = Given(
                case=case,
                prediction=prediction.number,
                edge=one.edge,
                verdict=noted,
                before=one.verdict,
            )
            self._writer.write(given)
            self._queue.decide(noted)
            self._go_on(one)
            if noted != verdict:
                self.noted.emit(as_fine_in_words(one.edge))

    def take_brush(self) -> None:
        """Make the labels the active layer, so that the tools work on them."""
        self._visit.take_brush()

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
        before, current = self._list, self.current
        layer = self.session.labels_layer
        if layer is not None:  # connecting again changes nothing
            layer.events.stepped.connect(self._on_step)
        self._searching = ""
        self._list = ReviewList()
        with self._reported():
            has_image = self.session.store is not None
            self._list = find_list(self.session.case, has_image=has_image)
            unwritten = self._writer.pending(self._list.of)
            self._list = read_list(self._list, before, unwritten)
            self._queue.check(self._is_vouched_for)
        if current is not None and self._list.of == before.of:
            current = self._queue.choose_box(current.edge.box)
        else:
            current = None
        if current is None:
            self._visit.leave()
        else:
            self._visit.keep(current.edge)
        self.changed.emit()

    def open(self) -> None:
        """Bind the keys and draw the outline again, after `close`."""
        self._bind_keys()
        self._tools.open()
        self._visit.open()

    def close(self) -> None:
        """Write what is not written yet; take keys and outline back."""
        self._writer.wait()
        self._keys.close()
        self._tools.close()
        self._visit.close()

    def trouble(self) -> str:
        """Why verdicts cannot be saved, in words; empty when all are. Waits."""
        return "\n".join(problem_of(error).line for error in self._writer.wait())

    @property
    def _queue(self) -> ReviewQueue:
        return self._list.queue

    def _bind_keys(self) -> None:
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

    @property
    def _polygon_is_begun(self) -> bool:
        layer = self.session.labels_layer
        return layer is not None and layer.polygon_is_begun

    def _may_move(self) -> bool:
        """Whether the view may go elsewhere; if a polygon is open, say why not."""
        if self._visit.hand_is_busy:
            return False
        if self._polygon_is_begun:
            self.noted.emit(polygon_in_words())
            return False
        return True

    def _go(self, one: Entry | None) -> None:
        if one is not None:
            self.go_to(one.edge.number)

    def _go_on(self, decided: Entry) -> None:
        """After a verdict: to the next edge that waits for one, if there is any."""
        following = self._queue.after(1)
        waits = self.tally.done < self.tally.edges
        if waits and following is not None and following.edge != decided.edge:
            self._go(following)
        else:  # stay, and say so
            self._visit.watch(decided.edge)
            self.changed.emit()

    def _on_edited(self) -> None:
        changed = self._queue.check(self._is_vouched_for)
        if changed:
            self.changed.emit()
        step, self._step = self._step, None
        undone = [one for one in changed if one.verdict is None]
        redone = changed if step is not None and step.done == "Redone" else []
        moved = [*undone, *redone]
        if moved and not self._visit.hand_is_busy and not self._polygon_is_begun:
            # Of several the one that was decided first was undone last.
            self._go(moved[0])
        self._visit.look()
        if undone:
            self.noted.emit(undone_in_words(undone[0].edge))
        elif redone and redone[0].verdict is not None:
            self.noted.emit(redone_in_words(redone[0].edge, redone[0].verdict))
        elif step is not None:  # looking may have wiped it away
            self._tell_step(step)

    def _on_step(self, event: Any) -> None:
        self._step = event if event.box is not None else None
        self._tell_step(event)

    def _tell_step(self, step: Any) -> None:
        """Say what was undone or redone, and where."""
        layer, dims = self.session.labels_layer, self._viewer.dims
        slices, on_show = None, True
        if layer is not None and step.box is not None and dims.ndisplay == 2:
            low, high = step.box[layer._slice_input.not_displayed[0]]
            slices, on_show = (low, high - 1), meets_view(layer, step.box, self._viewer)
        name = "" if step.box is None else step.name
        self.noted.emit(step_in_words(step.done, name, slices, on_show=on_show))

    def _on_not_written(self, given: Given) -> None:
        """Take a verdict back that the disk has refused."""
        if given.of == self._list.of:
            self._queue.take_back(given.edge.box, given.verdict, given.before)
            self.changed.emit()
        if given.error is not None:
            self.problem.emit(problem_of(given.error))

    def _is_vouched_for(self, box: Box) -> bool:
        store = self.session.store
        return store is None or is_vouched_for(store, box)

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
