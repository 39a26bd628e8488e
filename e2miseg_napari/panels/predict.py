"""Tab "Predict": which volume, which model, and the labels that come of it."""

import itertools
from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from e2miseg_core.errors import E2MISegError
from e2miseg_napari.finetuning import Finetuning
from e2miseg_napari.fit import Fit, judge_fit
from e2miseg_napari.images import iter_images
from e2miseg_napari.panels.model_section import ModelSection
from e2miseg_napari.panels.options_section import OptionsSection
from e2miseg_napari.panels.parts import TextLine
from e2miseg_napari.panels.result_section import ResultSection
from e2miseg_napari.panels.volume_section import VolumeSection
from e2miseg_napari.predicting import JobState, Phase, Predicting
from e2miseg_napari.project_session import ProjectSession

__all__ = ["PredictTab"]


class PredictTab(QWidget):
    """Choose a volume and a model, predict, save files.

    Parameters
    ----------
    viewer : ViewerModel
        Whose images can be chosen.
    session : ProjectSession
        The open project.
    predicting : Predicting
        Does it.
    finetuning : Finetuning
        Changes the project's model.
    """

    began = Signal()  # the user has asked for a prediction
    chosen = Signal()  # another volume

    def __init__(
        self,
        viewer: ViewerModel,
        session: ProjectSession,
        predicting: Predicting,
        finetuning: Finetuning,
    ) -> None:
        super().__init__()
        self._viewer, self._session, self._predicting = viewer, session, predicting
        self._fit = Fit()
        self._build()
        self._connect(finetuning)
        self._on_layers()
        self._on_opened()

    @property
    def fits(self) -> bool:
        """Whether nothing is known that keeps the model from the chosen volume."""
        return not self._fit.refusal

    def _build(self) -> None:
        self.volume = VolumeSection()
        self.model = ModelSection()
        self.options = OptionsSection()
        self.button = QPushButton("Predict")
        self.button.setMinimumHeight(32)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress_line = TextLine()
        self.result = ResultSection()
        column = QVBoxLayout(self)
        column.setSpacing(8)
        for section in (self.volume, self.model):
            column.addWidget(section)
            column.addSpacing(8)
        work = (self.options, self.button, self.progress, self.progress_line)
        for part in (*work, self.result):
            column.addWidget(part)
        column.addStretch(1)
        self._order_tabs()

    def _order_tabs(self) -> None:
        stops = [
            self.volume.box,
            self.volume.button,
            self.volume.resize_button,
            self.volume.labels_button,
            self.model.box,
            self.model.button,
            self.options.fold.toggleButton(),
            self.options.device,
            self.options.mirror,
            self.button,
            self.result.save_labels,
            self.result.save_error_map,
            self.result.save_edge_map,
        ]
        for first, second in itertools.pairwise(stops):
            self.setTabOrder(first, second)

    def _connect(self, finetuning: Finetuning) -> None:
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            event.connect(self._on_layers)
        self._viewer.layers.selection.events.active.connect(self._on_selected)
        self._session.opened.connect(self._on_opened)
        self._session.predicted.connect(self._on_opened)
        finetuning.versions_changed.connect(self._on_opened)
        self._predicting.changed.connect(self._on_job)
        self.volume.chosen.connect(self._judge)
        self.model.chosen.connect(self._judge)
        self.button.clicked.connect(self._on_button)
        self._on_job(self._predicting.state)

    def _on_layers(self, _event: object = None) -> None:
        self.volume.show_choices(list(iter_images(self._viewer.layers)))

    def _on_selected(self, _event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and self._predicting.state.phase == Phase.IDLE:
            self.volume.choose(active)

    def _on_opened(self) -> None:
        """Another case: its result, and its project's model instead of a choice."""
        project = self._session.project
        self.model.show_project(None if project is None else project)
        self.result.show_case(self._session.case)
        if self._session.image_layer is not None:
            self.volume.choose(self._session.image_layer)
        self._judge()

    def _judge(self) -> None:
        choice, card = self.volume.choice, self.model.card
        self._fit = Fit()
        if choice is not None and card is not None:
            try:
                geometry = choice.geometry()
            except E2MISegError as error:  # told below the image already
                self._fit = Fit(refusal=str(error))
                self.model.show_fit(Fit())
            else:
                self._fit = judge_fit(card, choice.channels, geometry, choice.notes)
                self.model.show_fit(self._fit)
        self._update_button()
        self.chosen.emit()

    def _update_button(self) -> None:
        phase = self._predicting.state.phase
        if phase == Phase.IDLE:
            missing = self._missing()
            self.button.setText("Predict")
            self.button.setEnabled(not missing)
            self.button.setToolTip(missing or "Segment the whole volume")
            return
        self.button.setText("Cancel")
        self.button.setEnabled(phase not in (Phase.CANCELLING, Phase.MERGING))
        self.button.setToolTip("Stop; the incomplete result is removed")

    def _missing(self) -> str:
        if self.volume.choice is None:
            return "Open a volume first"
        if self.model.card is None:
            return "Add a model file first"
        return self._fit.refusal

    def _on_button(self) -> None:
        predicting = self._predicting
        if predicting.state.phase != Phase.IDLE:
            predicting.cancel()
            return
        choice, entry = self.volume.choice, self.model.entry
        if choice is not None and entry is not None:
            self.began.emit()
            predicting.predict(choice, entry, self.options.options)

    def _on_job(self, state: JobState) -> None:
        idle = state.phase == Phase.IDLE
        self.progress.setVisible(not idle)
        self.progress_line.setVisible(not idle)
        self.progress.setRange(0, state.total)  # 0, 0: busy
        self.progress.setValue(state.done)
        # The box above may show another volume, opened meanwhile.
        self.progress_line.setText(
            f"{self._predicting.title}: {state.line}" if state.line else ""
        )
        for part in (self.volume, self.model, self.options):
            part.setEnabled(idle)
        self._update_button()
