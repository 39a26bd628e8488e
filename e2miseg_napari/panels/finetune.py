"""The tab "Fine-tune": teach the model what was corrected, while one goes on."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core.project import Project
from e2miseg_napari.background import Background
from e2miseg_napari.corrections_watch import CorrectionsWatch
from e2miseg_napari.finetune_state import FinetunePhase, FinetuneState
from e2miseg_napari.finetuning import Finetuning
from e2miseg_napari.panels.finetune_curve import CurveWidget
from e2miseg_napari.panels.finetune_parts import (
    CorrectionsSection,
    OutcomeCard,
    VersionsSection,
)
from e2miseg_napari.panels.parts import MessageLine, TextLine
from e2miseg_napari.problems import problem_of
from e2miseg_napari.protocol import FinetuneResult
from e2miseg_napari.version_list import VersionLine, list_versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2miseg_napari.project_session import ProjectSession

__all__ = ["FinetuneTab"]

_DRAW_MS = 200  # between two drawings of the curve


class FinetuneTab(QWidget):
    """What was corrected, the fine-tuning in hand, its verdict, all versions.

    Parameters
    ----------
    session : ProjectSession
        The open project.
    finetuning : Finetuning
        What the buttons do.
    parent : QWidget, optional
        Owner in Qt's sense.
    """

    def __init__(
        self,
        session: "ProjectSession",
        finetuning: Finetuning,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._finetuning = finetuning
        self._background = Background(self)
        self._watch = CorrectionsWatch(session, self)
        self._shown_before = False
        self._tested: float | None = None  # wrong voxels of the verdict on the curve
        self.curve: CurveWidget | None = None
        # Replaceable: a test, or a script without a user, answers by itself.
        self.ask_discard: Callable[[], bool] = self._ask_discard
        self._draw_timer = QTimer(self)
        self._draw_timer.setSingleShot(True)
        self._draw_timer.setInterval(_DRAW_MS)
        self._draw_timer.timeout.connect(self._draw)
        self._build()
        self._lay_out()
        self._connect()
        self._on_opened()

    def _build(self) -> None:
        self.corrections = CorrectionsSection()
        self.start = _button("Start fine-tuning", "")
        self.resume_old = _button("Resume", "Go on where it stopped")
        self.pause = _button("Pause", "")
        self.finish = _button(
            "Finish now", "Stop training here and test what was learned"
        )
        self.discard = _button("Discard", "Throw this fine-tuning away")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.line = TextLine()
        self.outcome = OutcomeCard()
        self.message = MessageLine()
        self.versions = VersionsSection()
        self.start.setMinimumHeight(32)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        for button in (self.resume_old, self.pause, self.finish, self.discard):
            row.addWidget(button)
        self._curve_place = QVBoxLayout()
        content = QWidget()
        column = QVBoxLayout(content)
        column.setSpacing(8)
        column.addWidget(self.corrections)
        for work in (self.start, self.progress, self.line):
            column.addWidget(work)
        column.addLayout(row)
        column.addLayout(self._curve_place)
        for told in (self.message, self.outcome):
            column.addWidget(told)
        column.addSpacing(8)
        column.addWidget(self.versions)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        self.setMinimumWidth(320)

    def _connect(self) -> None:
        finetuning = self._finetuning
        self.start.clicked.connect(self._on_start)
        self.resume_old.clicked.connect(self._on_resume_old)
        self.pause.clicked.connect(self._on_pause)
        self.finish.clicked.connect(finetuning.finish)
        self.discard.clicked.connect(self._on_discard)
        self.outcome.predict_again_asked.connect(finetuning.predict_again_asked)
        self.versions.use_asked.connect(self._on_use)
        finetuning.changed.connect(self._on_changed)
        finetuning.curve_changed.connect(self._on_points)
        finetuning.offered.connect(self._update)
        finetuning.ended.connect(self._on_ended)
        finetuning.version_used.connect(self.outcome.show_switch)
        finetuning.versions_changed.connect(self._list_versions)
        finetuning.notice.connect(self.message.show_notice)
        finetuning.problem.connect(self.message.show_problem)
        self._session.opened.connect(self._on_opened)
        self._watch.counted.connect(self._on_counted)
        self._watch.problem.connect(self.message.show_problem)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Import what draws the curve at first, and count anew (Qt's name)."""
        super().showEvent(event)
        if not self._shown_before:
            self._shown_before = True
            self._background.run(
                lambda: importlib.import_module("pyqtgraph"),
                self._make_curve,
                self._on_thread_error,
            )
        self._watch.look(looked_at=True)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Count no more (Qt's name)."""
        super().hideEvent(event)
        self._watch.look(looked_at=False)

    def _make_curve(self, pyqtgraph: ModuleType) -> None:
        self.curve = CurveWidget(pyqtgraph)
        self._curve_place.addWidget(self.curve)
        self._draw()

    def _on_opened(self) -> None:
        self.outcome.hide()
        self.message.clear()
        self._on_counted()
        self._list_versions()

    def _on_counted(self) -> None:
        project = self._session.project
        self.corrections.show_corrections(
            None if project is None else self._watch.corrections
        )
        self._update()

    def _list_versions(self) -> None:
        project = self._session.project
        if project is None:
            self.versions.show_versions(())
            return

        self._background.run(
            lambda: (project, list_versions(project)),
            self._show_versions,
            self._on_thread_error,
        )

    def _show_versions(self, found: tuple[Project, list[VersionLine]]) -> None:
        project, versions = found
        if self._session.project is project:
            self.versions.show_versions(versions)

    def _on_thread_error(self, error: Exception) -> None:
        self.message.show_problem(problem_of(error))

    def _on_start(self) -> None:
        self.message.clear()
        self.outcome.hide()
        self._finetuning.start()

    def _on_resume_old(self) -> None:
        self.message.clear()
        self.outcome.hide()
        self._finetuning.resume_unfinished()

    def _on_pause(self) -> None:
        if self._finetuning.state.phase == FinetunePhase.PAUSED:
            self._finetuning.resume()
        else:
            self._finetuning.pause()

    def _on_discard(self) -> None:
        if not self._finetuning.worth_asking or self.ask_discard():
            self._finetuning.discard()

    def _ask_discard(self) -> bool:
        answer = QMessageBox.question(
            self,
            "Discard the fine-tuning?",
            "What it has learned so far is lost. Your corrections stay.",
        )
        return answer == QMessageBox.StandardButton.Yes

    def _on_use(self, number: int) -> None:
        self.message.clear()
        self._finetuning.use_version(number)

    def _on_ended(self, result: FinetuneResult) -> None:
        self.message.clear()
        self.outcome.show_result(result)
        tested = result.figures.get("wrong_after")
        self._tested = tested if isinstance(tested, int | float) else None
        self._on_curve()

    def _on_changed(self, _state: FinetuneState) -> None:
        self._update()

    def _update(self) -> None:
        """Show what can be done now."""
        state, unfinished = self._finetuning.state, self._finetuning.unfinished
        idle = state.phase == FinetunePhase.IDLE
        self.start.setVisible(idle and unfinished is None)
        ready = (
            self._session.project is not None and not self._watch.corrections.missing
        )
        self.start.setEnabled(ready)
        self.start.setToolTip(
            "Train in the background; you can go on correcting meanwhile"
            if ready
            else "There is too little to learn from"
        )
        self.progress.setVisible(not idle)
        self.progress.setRange(0, state.total)  # 0, 0: busy
        self.progress.setValue(state.done)
        offered = idle and unfinished is not None
        self.line.setVisible(not idle or offered)
        told = unfinished.sentence if idle and unfinished is not None else state.line
        self.line.setText(told)
        self._update_row(state, offered=offered)

    def _update_row(self, state: FinetuneState, *, offered: bool) -> None:
        phase = state.phase
        running = phase != FinetunePhase.IDLE
        self.resume_old.setVisible(offered)
        paused = phase == FinetunePhase.PAUSED
        at_work = phase == FinetunePhase.RUNNING
        self.pause.setVisible(running)
        self.pause.setText("Resume" if paused else "Pause")
        self.pause.setToolTip(
            "Go on training" if paused else "Let the computer rest; nothing is lost"
        )
        self.pause.setEnabled(at_work or paused)
        self.finish.setVisible(running)
        learned = any(point.step for point in self._finetuning.points)
        self.finish.setEnabled((at_work or paused) and learned)
        self.discard.setVisible(running or offered)
        self.discard.setEnabled(phase != FinetunePhase.DISCARDING)

    def _on_points(self) -> None:
        self._tested = None
        self._on_curve()

    def _on_curve(self) -> None:
        if not self._draw_timer.isActive():
            self._draw_timer.start()

    def _draw(self) -> None:
        """Show the curve; that of the last fine-tuning stays until the next."""
        points = self._finetuning.points
        if self.curve is not None:
            self.curve.setVisible(bool(points))
            self.curve.show_points(points, self._finetuning.steps, self._tested)


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button
