"""The dock widget "E2MISeg": from a volume to labels and their uncertain edges."""

import itertools
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QFrame,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core import __version__
from e2miseg_core.errors import E2MISegError
from e2miseg_napari.close_guard import CloseGuard
from e2miseg_napari.controller import Controller, JobState, Phase
from e2miseg_napari.convert import own_metadata
from e2miseg_napari.dialogs import ask_and_save
from e2miseg_napari.engine_client import EngineClient
from e2miseg_napari.fit import Fit, judge_fit
from e2miseg_napari.panels.model_section import ModelSection
from e2miseg_napari.panels.options_section import OptionsSection
from e2miseg_napari.panels.parts import MessageLine, TextLine
from e2miseg_napari.panels.result_section import ResultSection
from e2miseg_napari.panels.volume_section import VolumeSection
from e2miseg_napari.predictions import Prediction, find_predictions
from e2miseg_napari.problems import Problem
from e2miseg_napari.protocol import Ready
from e2miseg_napari.saving import Saver

if TYPE_CHECKING:
    import napari

__all__ = ["PredictPanel"]


class PredictPanel(QWidget):
    """Choose a volume and a model, predict, look, save.

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
        self.controller = Controller(napari_viewer, client, parent=self)
        self._saver = Saver(self)
        self._guard: CloseGuard | None = None
        self._fit = Fit()
        self._build()
        self._connect()
        self._on_images()
        self._on_predictions()

    def _build(self) -> None:
        self.volume = VolumeSection()
        self.model = ModelSection()
        self.options = OptionsSection()
        self.button = QPushButton("Predict")
        self.button.setMinimumHeight(32)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress_line = TextLine()
        self.message = MessageLine()
        self.result = ResultSection()
        about = TextLine("Research use only. Not a medical device.")
        about.setToolTip(f"E2MISeg {__version__}, BSD-3-Clause")
        content = QWidget()
        column = QVBoxLayout(content)
        column.setSpacing(8)
        for section in (self.volume, self.model):
            column.addWidget(section)
            column.addSpacing(8)
        work = (self.options, self.button, self.progress, self.progress_line)
        for part in (*work, self.message, self.result):
            column.addWidget(part)
        column.addStretch(1)
        column.addWidget(about)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        self.setMinimumWidth(320)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._order_tabs()

    def _order_tabs(self) -> None:
        stops = [
            self.volume.box,
            self.volume.button,
            self.model.box,
            self.model.button,
            self.options.fold.toggleButton(),
            self.options.device,
            self.options.mirror,
            self.button,
            self.result.save_labels,
            self.result.save_error_map,
        ]
        for first, second in itertools.pairwise(stops):
            self.setTabOrder(first, second)

    def _connect(self) -> None:
        controller = self.controller
        controller.images_changed.connect(self._on_images)
        controller.predictions_changed.connect(self._on_predictions)
        controller.job_changed.connect(self._on_job)
        controller.notice.connect(self.message.show_notice)
        controller.problem.connect(self._on_problem)
        controller.client.ready.connect(self._on_ready)
        self.volume.open_asked.connect(controller.open_path)
        self.volume.chosen.connect(self._judge)
        self.model.chosen.connect(self._judge)
        self.model.problem.connect(self._on_problem)
        self.button.clicked.connect(self._on_button)
        self.result.save_asked.connect(self._on_save)
        self._viewer.layers.selection.events.active.connect(self._on_selected)
        self._listen_to_saver()
        self._on_job(controller.state)

    def _listen_to_saver(self) -> None:
        self._saver.started.connect(self.message.show_notice)
        self._saver.saved.connect(self._on_saved)
        self._saver.failed.connect(self._on_problem)

    @property
    def shown(self) -> Prediction | None:
        """The prediction whose legend is shown: the selected one, else the last."""
        predictions = self.controller.predictions()
        active = self._viewer.layers.selection.active
        name = own_metadata(active).get("result") if active is not None else None
        chosen = [one for one in predictions if one.id == name]
        found = chosen or predictions
        return found[-1] if found else None

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Start the engine while the user is still choosing (Qt's name)."""
        super().showEvent(event)
        self._attach()
        self.controller.client.warm_up()

    def event(self, event: QEvent) -> bool:
        """End the engine when napari takes the panel out of its window."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.controller.shutdown()
        return super().event(event)

    def _attach(self) -> None:
        """Guard the window that the panel is in, with the guard it may have already."""
        window = _main_window(self)
        if window is None or self._guard is not None:
            return
        guard = CloseGuard.of(window)
        if guard is None:
            viewer = weakref.ref(self._viewer)
            guard = CloseGuard(window, partial(_unsaved, viewer), self._saver)
        else:
            self._saver = guard.saver
            self._listen_to_saver()
        guard.closed.connect(self._on_window_closed)
        self._guard = guard

    def _on_window_closed(self) -> None:
        self.controller.shutdown(at_once=True)

    def _on_images(self) -> None:
        self.volume.show_choices(self.controller.images())

    def _on_predictions(self) -> None:
        self.result.show_prediction(self.shown)

    def _on_selected(self, _event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and self.controller.state.phase == Phase.IDLE:
            self.volume.choose(active)
        self._on_predictions()

    def _on_ready(self, ready: Ready) -> None:
        self.options.show_device(ready.device)

    def _judge(self) -> None:
        choice, entry = self.volume.choice, self.model.entry
        self._fit = Fit()
        if choice is not None and entry is not None:
            try:
                geometry = choice.geometry()
            except E2MISegError as error:  # told below the image already
                self._fit = Fit(refusal=str(error))
                self.model.show_fit(Fit())
            else:
                self._fit = judge_fit(entry.card, choice.n_channels, geometry)
                self.model.show_fit(self._fit)
        self._update_button()

    def _update_button(self) -> None:
        phase = self.controller.state.phase
        if phase == Phase.IDLE:
            missing = self._missing()
            self.button.setText("Predict")
            self.button.setEnabled(not missing)
            self.button.setToolTip(missing or "Segment the whole volume")
            return
        self.button.setText("Cancel")
        self.button.setEnabled(phase != Phase.CANCELLING)
        self.button.setToolTip("Stop; the incomplete result is removed")

    def _missing(self) -> str:
        if self.volume.choice is None:
            return "Open a volume first"
        if self.model.entry is None:
            return "Add a model file first"
        return self._fit.refusal

    def _on_button(self) -> None:
        controller = self.controller
        if controller.state.phase != Phase.IDLE:
            controller.cancel()
            return
        choice, entry = self.volume.choice, self.model.entry
        if choice is not None and entry is not None:
            self.message.clear()
            controller.predict(choice, entry, self.options.options)

    def _on_job(self, state: JobState) -> None:
        idle = state.phase == Phase.IDLE
        self.progress.setVisible(not idle)
        self.progress_line.setVisible(not idle)
        self.progress.setRange(0, state.total)  # 0, 0: busy
        self.progress.setValue(state.done)
        self.progress_line.setText(state.line)
        for part in (self.volume, self.model, self.options):
            part.setEnabled(idle)
        self._update_button()

    def _on_save(self, what: str) -> None:
        prediction = self.shown
        if prediction is not None:
            ask_and_save(self, self._saver, prediction, what)

    def _on_saved(self, line: str) -> None:
        self.message.show_notice(line)
        self._on_predictions()

    def _on_problem(self, problem: Problem) -> None:
        self.message.show_problem(problem)
        show_error(problem.line)


def _unsaved(viewer: "weakref.ref[napari.viewer.Viewer]") -> list[Prediction]:
    alive = viewer()
    layers = () if alive is None else alive.layers
    return [one for one in find_predictions(layers) if one.unsaved]


def _main_window(widget: QWidget) -> QMainWindow | None:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parentWidget()
    return parent
