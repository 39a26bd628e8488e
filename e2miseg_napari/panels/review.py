"""Tab "Review": the uncertain edges, worst first, and what to paint with."""

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QHBoxLayout,
    QMainWindow,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core.project import Verdict
from e2miseg_napari.panels.class_table import ClassTable
from e2miseg_napari.panels.done_bar import DoneBar
from e2miseg_napari.panels.edge_list import EdgeTable
from e2miseg_napari.panels.parts import MessageLine, TextLine, heading
from e2miseg_napari.panels.review_icons import verdict_icon
from e2miseg_napari.review import Review
from e2miseg_napari.review_list import Stage
from e2miseg_napari.review_wording import (
    VERDICT_NAMES,
    figures_in_words,
    hit_rate_in_words,
    next_step_in_words,
    place_in_words,
    slices_in_words,
    tally_in_words,
    tally_tip_in_words,
)

if TYPE_CHECKING:
    from e2miseg_napari.project_session import ProjectSession
    from e2miseg_napari.review_queue import Entry

__all__ = ["ReviewTab"]

_STAGES = {
    Stage.NO_CASE: "No project is open. Predict a volume, or open a project: "
    "its uncertain edges will stand here, the worst first.",
    Stage.NO_IMAGE: "The image of this case is not where it was. Put it back, or press "
    "<b>Where is it…</b> above.",
    Stage.NO_PREDICTION: "This case has no prediction yet. Predict it first: "
    "its uncertain edges will stand here, the worst first.",
    Stage.NOT_RANKED: "The uncertain edges of this prediction have not been looked "
    "for yet.",
}
_TAKEN_AWAY = (
    "The labels of this case were removed from the list of layers; your work is kept. "
    "Press <b>Show the case again</b> above."
)
_NOTHING = "No uncertain edges: the model is sure of itself everywhere."
_BUTTONS: tuple[tuple[Verdict, str, str], ...] = (
    ("corrected", "Corrected (C)", "It was wrong, and is right now"),
    ("fine", "Fine as it is (A)", "Accept it: the labels were right"),
    ("skipped", "Skip (S)", "Leave it undecided, and go on"),
)


class ReviewTab(QWidget):
    """List of edges beside the picture, verdicts, progress, classes.

    Parameters
    ----------
    session : ProjectSession
        The open project.
    review : Review
        The controller.
    parent : QWidget, optional
        Owner in Qt's sense.
    """

    def __init__(
        self,
        session: "ProjectSession",
        review: Review,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self.review = review
        self._build()
        self._shown: Entry | None = None
        self._connect()
        self._on_changed()

    def _build(self) -> None:
        self.state = TextLine()
        self.search = _button("Find uncertain edges", "Rank them with the engine")
        self.progress = DoneBar()
        self.tally = TextLine()
        self.edges = EdgeTable()
        self.detail = TextLine()
        self.status = TextLine()
        self.previous = _button("Previous (,)", "The undecided edge before")
        self.next = _button(
            "Next (.)",
            "The next undecided edge, the worst first; then those you have skipped",
        )
        self.verdicts = {name: _button(text, tip) for name, text, tip in _BUTTONS}
        self._group = QButtonGroup(self)
        self._group.setExclusive(False)
        for name, button in self.verdicts.items():
            button.setIcon(verdict_icon(name))
            self._group.addButton(button)
        self.verdicts["corrected"].setCheckable(True)  # lit up when it is suggested
        self.hit_rate = TextLine()
        self.hit_rate.setToolTip("How much the list can be trusted on this case")
        self.next_step = TextLine()
        self.classes = ClassTable(self._session)
        self.message = MessageLine()
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 8, 4, 8)
        column.setSpacing(6)
        column.addWidget(heading("Uncertain edges"))
        column.addWidget(self.state)
        column.addWidget(self._build_list(), 1)
        for part in (self.next_step, self.search, self.message, self._build_brush()):
            column.addWidget(part)
        self._spring = QWidget()  # keeps all at the top while there is no list
        column.addWidget(self._spring, 1)

    def _build_list(self) -> QWidget:
        self.ready = QWidget()
        column = QVBoxLayout(self.ready)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        moves, decisions = QHBoxLayout(), QHBoxLayout()
        decisions.setSpacing(4)
        for button in (self.previous, self.next):
            moves.addWidget(button)
        for button in self.verdicts.values():
            decisions.addWidget(button, 1)
        column.addWidget(self.progress)
        column.addWidget(self.tally)
        column.addWidget(self.edges, 1)
        column.addWidget(_lines(self.detail, 2))
        column.addWidget(_lines(self.status, 1))
        column.addLayout(moves)
        column.addLayout(decisions)
        column.addWidget(self.hit_rate)
        return self.ready

    def _build_brush(self) -> QWidget:
        self.brush = QWidget()
        column = QVBoxLayout(self.brush)
        column.setContentsMargins(0, 6, 0, 0)
        column.setSpacing(6)
        column.addWidget(heading("Paint with"))
        column.addWidget(self.classes)
        return self.brush

    def _connect(self) -> None:
        review = self.review
        review.changed.connect(self._on_changed)
        review.suggested.connect(self._on_suggested)
        review.noted.connect(self.status.setText)
        review.problem.connect(self.message.show_problem)
        self.edges.chosen.connect(self._on_chosen)
        self.classes.chosen.connect(self._on_class)
        self.search.clicked.connect(review.ask_for_edges)
        self.previous.clicked.connect(review.previous)
        self.next.clicked.connect(review.next)
        self._group.buttonClicked.connect(self._on_verdict)
        self._session.opened.connect(self.classes.reload)

    def _on_changed(self) -> None:
        review = self.review
        stage, searching, tally = review.stage, review.searching, review.tally
        ready = stage == Stage.READY and bool(review.entries)
        line = searching or _STAGES.get(stage, "" if ready else _NOTHING)
        if self._session.taken_away == "labels":
            line = _TAKEN_AWAY
        _show_line(self.state, line)
        self.ready.setVisible(ready)
        self._spring.setVisible(not ready)
        self.brush.setVisible(self._session.labels_layer is not None)
        all_done = ready and not tally.undecided
        self._offer_search(stage == Stage.NOT_RANKED, all_done)
        self._show_edges()
        self.progress.setRange(0, max(1, tally.edges))
        self.progress.setValue(tally.done)
        self.tally.setText(tally_in_words(tally))
        self.tally.setToolTip(tally_tip_in_words(review.note))
        _show_line(self.hit_rate, hit_rate_in_words(tally))
        _show_line(self.next_step, next_step_in_words(tally) if all_done else "")

    def _offer_search(self, never: bool, all_done: bool) -> None:
        self.search.setText("Find uncertain edges" if never else "Look for more edges")
        self.search.setVisible(never or all_done)
        self.search.setEnabled(not self.review.searching)

    def _show_edges(self) -> None:
        review, project = self.review, self._session.project
        classes = () if project is None else project.classes
        current = review.current
        if current != self._shown:
            self.status.setText("")
            if current is not None:
                self.message.clear()  # something went well since
        self._shown = current
        self.edges.show_edges(review.entries, current, classes)
        for button in self.verdicts.values():
            button.setEnabled(current is not None)
        self._on_suggested(review.looks_corrected)

    def _on_suggested(self, painted: bool) -> None:
        self.verdicts["corrected"].setChecked(painted)
        if painted:  # what was said of the edge before is long past
            self.status.setText("")
        current, project = self.review.current, self._session.project
        if current is None or project is None:
            self.detail.setText("Press . for the worst edge, or click one.")
            return
        names = {0: "background"} | {item.value: item.name for item in project.classes}
        if painted:
            more = "You painted here: press C when it is right."
        elif current.verdict is None:
            more = figures_in_words(current.edge)
        elif current.verdict == "skipped":
            more = f"Skipped. {figures_in_words(current.edge)}".strip()
        else:
            more = f"{VERDICT_NAMES[current.verdict]}; another verdict replaces that."
        place, slices = place_in_words(current.edge, names), self.review.slices
        if slices is not None:  # a verdict is about all of them
            place = f"{place} In {slices_in_words(slices)}."
        self.detail.setText(f"{place} {more}")

    def _on_chosen(self, number: int) -> None:
        self.review.go_to(number)
        self._give_keys_to_viewer()

    def _on_class(self, _value: int) -> None:
        self.review.take_brush()
        self._give_keys_to_viewer()

    def _on_verdict(self, button: QAbstractButton) -> None:
        for name, one in self.verdicts.items():
            if one is button:
                self.review.decide(name)
        self._on_suggested(self.review.looks_corrected)

    def _give_keys_to_viewer(self) -> None:
        """Take the keys away from a field that somebody has typed in."""
        parent = self.parentWidget()
        while parent is not None and not isinstance(parent, QMainWindow):
            parent = parent.parentWidget()
        if parent is not None and parent.centralWidget() is not None:
            parent.centralWidget().setFocus()


def _button(text: str, tip: str) -> QPushButton:
    """Button that a click gives no focus: the keys stay with the viewer."""
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


def _lines(label: TextLine, count: int) -> QWidget:
    """Room for so many lines, so that what is below keeps its place."""
    room = QWidget()
    room.setMinimumHeight(count * label.fontMetrics().lineSpacing() + 4)
    column = QVBoxLayout(room)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(label)
    column.addStretch(1)
    return room


def _show_line(label: TextLine, line: str) -> None:
    label.setText(line)
    label.setVisible(bool(line))
