"""The dock widget "E2MISeg": predict, review the uncertain edges, fine-tune."""

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QFrame,
    QMainWindow,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core import __version__
from e2miseg_core.io.address import Address
from e2miseg_napari.anatomical_view import AnatomicalView
from e2miseg_napari.close_guard import CloseGuard
from e2miseg_napari.convert import LayerData, make_layer
from e2miseg_napari.dialogs import ask_and_save
from e2miseg_napari.edge_search import EdgeSearch
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.finetuning import Finetuning
from e2miseg_napari.images import ImageChoice
from e2miseg_napari.loading import load_labels
from e2miseg_napari.outdated_layers import OutdatedLayers
from e2miseg_napari.panels.finetune import FinetuneTab
from e2miseg_napari.panels.guide import Guide
from e2miseg_napari.panels.known_project import KnownProject
from e2miseg_napari.panels.parts import MessageLine, TextLine
from e2miseg_napari.panels.plane_bar import PlaneBar
from e2miseg_napari.panels.predict import PredictTab
from e2miseg_napari.panels.project_section import ProjectSection
from e2miseg_napari.panels.review import ReviewTab
from e2miseg_napari.pet_overlay import PetOverlay
from e2miseg_napari.predicting import JobState, Phase, Predicting
from e2miseg_napari.problems import Problem, problem_of
from e2miseg_napari.project_session import ProjectSession
from e2miseg_napari.protocol import FinetuneResult, Ready
from e2miseg_napari.review import Review
from e2miseg_napari.saving import Saver
from e2miseg_napari.version_list import with_arrows
from e2miseg_napari.volume_opening import VolumeOpening

if TYPE_CHECKING:
    import napari

__all__ = ["MainPanel"]

_WIDTH = 372  # pixels: the three verdicts stand side by side


class MainPanel(QWidget):
    """The whole loop in one dock widget.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    client : EngineClient, optional
        To another engine than this installation's.
    """

    def __init__(
        self, napari_viewer: "napari.viewer.Viewer", client: EngineClient | None = None
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.client = client or EngineClient(parent=self)
        self.session = ProjectSession(napari_viewer, parent=self)
        self.predicting = Predicting(napari_viewer, self.session, self.client, self)
        self.reviewing = Review(napari_viewer, self.session, self)
        self.finetuning = Finetuning(self.session, self.client, self)
        self.search = EdgeSearch(self.session, self.client, self.reviewing, self)
        self.view = AnatomicalView(napari_viewer, self)
        self._opening = VolumeOpening(self)
        self._outdated = OutdatedLayers(napari_viewer.layers, self.session)
        self._overlay = PetOverlay(napari_viewer.layers)
        self._known = KnownProject(self)
        self._saver = Saver(self)
        self._guard: CloseGuard | None = None
        self._over = False
        self._told = ""  # about the last prediction
        self._build()
        self._connect()
        self._on_opened()

    def _build(self) -> None:
        self.project = ProjectSection()
        self.predict = PredictTab(
            self._viewer, self.session, self.predicting, self.finetuning
        )
        self.review = ReviewTab(self.session, self.reviewing)
        self.finetune = FinetuneTab(self.session, self.finetuning)
        self.guide = Guide(
            self.predicting,
            self.reviewing,
            self.finetuning,
            predict=self.predict,
            known=self._known,
        )
        self.planes = PlaneBar(self.view)
        self.message = MessageLine()
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)  # no frame: the dock is narrow
        bar = self.tabs.tabBar()
        if bar is not None:
            bar.setDrawBase(False)
        self.tabs.addTab(_scrolled(self.predict), "1 Predict")
        self.tabs.addTab(self.review, "2 Review")  # these two scroll by themselves
        self.tabs.addTab(self.finetune, "3 Fine-tune")
        about = TextLine("Research use only. Not a medical device.")
        about.setToolTip(f"E2MISeg {__version__}, BSD-3-Clause")
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.guide)
        column.addWidget(self.project)
        column.addWidget(self.planes)
        column.addWidget(self.tabs, 1)
        column.addWidget(self.message)
        column.addWidget(about)
        self.setMinimumWidth(_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        self.session.opened.connect(self._on_opened)
        self.session.predicted.connect(self._on_opened)
        self.session.saved.connect(self.project.show_saved)
        self.project.open_asked.connect(self._on_open_project)
        self.project.close_asked.connect(self.session.leave)
        self.session.removed.connect(self._on_taken_away)
        self.project.again_asked.connect(self.session.show_again)
        self.project.case_asked.connect(self.session.show_case)
        self.project.relocate_asked.connect(self._on_relocate)
        self.predict.volume.open_asked.connect(self._opening.open)
        self.predict.volume.resize_asked.connect(self._on_resize)
        self.predict.volume.labels_asked.connect(self._on_labels)
        self._opening.opened.connect(self._add_layers)
        self._opening.notice.connect(self.message.show_notice)
        self.predict.began.connect(self.message.clear)
        self.predict.chosen.connect(self._on_chosen)
        self.predict.result.save_asked.connect(self._on_save)
        self.predicting.changed.connect(self._on_predicting)
        self.predicting.done.connect(self._on_predicted)
        self.reviewing.changed.connect(self._on_review)
        self.finetuning.predict_again_asked.connect(self._on_predict_again)
        self.finetuning.ended.connect(self._on_finetuned)
        self.finetuning.problem.connect(_pop_up)
        self._known.changed.connect(self._on_known)
        self._known.problem.connect(self._on_thread_error)
        self.client.ready.connect(self._on_ready)
        self.predicting.notice.connect(self._on_prediction_notice)
        self.session.notice.connect(self.message.show_notice)
        for problem in (
            self.predicting.problem,
            self.search.problem,
            self.project.problem,
            self.predict.model.problem,
            self.predict.volume.problem,
            self.predict.result.problem,
            self._opening.problem,
        ):
            problem.connect(self._on_problem)
        self._listen_to_saver()

    def _listen_to_saver(self) -> None:
        self._saver.started.connect(self.message.show_notice)
        self._saver.saved.connect(self.message.show_notice)
        self._saver.failed.connect(self._on_problem)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Start the engine while the user is still choosing (Qt's name)."""
        super().showEvent(event)
        self._begin_again()
        self.attach()
        self.client.warm_up()

    def event(self, event: QEvent) -> bool:
        """End what runs when napari takes the panel out of its window."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.shutdown()
        return super().event(event)

    def attach(self) -> None:
        """Guard the window that the panel is in, with the guard it may have already."""
        window = _main_window(self)
        if window is None or self._guard is not None:
            return
        guard = CloseGuard.of(window)
        if guard is None:
            guard = CloseGuard(window, self._saver)
        else:
            self._saver = guard.saver
            self._listen_to_saver()
        guard.troubles.append(self._trouble)
        guard.closed.connect(self._on_window_closed)
        self._guard = guard

    def _begin_again(self) -> None:
        """After the panel was taken out of its window and put into one again."""
        if self._over:
            self._over = False
            self.view.open()
            self.reviewing.open()

    def shutdown(self, *, at_once: bool = False) -> None:
        """Save what is left, release the project, end the engine; once."""
        if self._over:
            return
        self._over = True
        self._opening.cancel()
        self.predicting.shutdown()
        if at_once:
            self.client.kill()
        else:
            self.client.shutdown()
        self.view.close()
        self.reviewing.close()
        self.session.close()
        guard, self._guard = self._guard, None
        if guard is not None:  # it outlives the panel
            guard.closed.disconnect(self._on_window_closed)
            guard.troubles.remove(self._trouble)
            if self.session.unsaved and self.session.trouble not in guard.troubles:
                guard.troubles.append(self.session.trouble)

    def show_tab(self, tab: QWidget) -> None:
        """Bring a tab to the front."""
        for index in range(self.tabs.count()):
            page = self.tabs.widget(index)
            inside = page.widget() if isinstance(page, QScrollArea) else page
            if inside is tab:
                self.tabs.setCurrentIndex(index)

    def _on_window_closed(self) -> None:
        self.shutdown(at_once=True)

    def _trouble(self) -> str:
        """Why the last edits cannot be saved; empty when they are."""
        told = (self.session.trouble(), self.reviewing.trouble())
        return "\n".join(line for line in told if line)

    def _on_opened(self) -> None:
        case = self.session.case
        name = "" if case is None else case.name
        self.project.show_project(
            self.session.project, name, missing=self.session.missing_image
        )
        self._on_taken_away()
        self._on_chosen()

    def _on_taken_away(self) -> None:
        self.project.show_taken_away(self.session.taken_away)

    def _on_chosen(self) -> None:
        to_offer = self.session.project is None and not self._over
        choice = self.predict.volume.choice
        self._known.look(choice if to_offer else None)
        if choice is not None and self.session.is_left_for(choice.uri):
            self.show_tab(self.predict)
        self._on_known()

    def _on_known(self) -> None:
        self.project.suggest(self._known.path)

    def _on_predicting(self, state: JobState) -> None:
        self.project.setEnabled(state.phase == Phase.IDLE)

    def _on_prediction_notice(self, line: str) -> None:
        self._told = line
        self.message.show_notice(line)

    def _on_review(self) -> None:
        """Once an edge is on show, what was said of the prediction is long past."""
        if self.reviewing.current is not None and self._told:
            self.message.clear_line(self._told)
            self._told = ""

    def _on_predicted(self) -> None:
        self.show_tab(self.review)

    def _on_predict_again(self) -> None:
        self.message.clear()
        self.show_tab(self.predict)
        self.session.bring_image_back()
        self.predicting.predict_again(self.predict.options.options)

    def _on_finetuned(self, result: FinetuneResult) -> None:
        """Whoever is looking at another tab is told, too."""
        if self.tabs.currentWidget() is not self.finetune:
            self.message.show_notice(with_arrows(result.sentence))

    def _on_ready(self, ready: Ready) -> None:
        self.predict.options.show_device(ready.device)

    def _on_open_project(self, path: Path) -> None:
        self.message.clear()
        self.session.open(path)

    def _on_relocate(self, path: Path) -> None:
        self.message.clear()
        self.session.relocate(path)

    def _on_resize(self, choice: ImageChoice, address: Address) -> None:
        self._outdated.expect(choice.uri)
        self._opening.open(address)

    def _on_labels(self, choice: ImageChoice) -> None:
        self._outdated.expect(choice.uri)
        self._opening.open(choice.uri, load_labels)

    def _add_layers(self, layers: list[LayerData]) -> None:
        added = [make_layer(layer) for layer in layers]
        self._outdated.remove_for(added)
        for layer in added:
            self._viewer.add_layer(layer)
        if len(self._viewer.layers) == len(added):
            self._viewer.reset_view()

    def _on_thread_error(self, error: Exception) -> None:
        self._on_problem(problem_of(error))

    def _on_save(self, what: str) -> None:
        case, store = self.session.case, self.session.store
        if case is not None and store is not None:
            ask_and_save(self, self._saver, case, store, what)

    def _on_problem(self, problem: Problem) -> None:
        self.message.show_problem(problem)
        _pop_up(problem)


def _pop_up(problem: Problem) -> None:
    show_error(problem.line)


def _scrolled(content: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)
    return area


def _main_window(widget: QWidget) -> QMainWindow | None:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parentWidget()
    return parent
