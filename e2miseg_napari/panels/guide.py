"""One line that says what to do next."""

from enum import StrEnum

from e2miseg_napari.corrections import NEEDED
from e2miseg_napari.finetune_state import FinetunePhase
from e2miseg_napari.finetuning import Finetuning
from e2miseg_napari.panels.known_project import KnownProject
from e2miseg_napari.panels.parts import TextLine
from e2miseg_napari.panels.predict import PredictTab
from e2miseg_napari.predicting import Phase, Predicting
from e2miseg_napari.review import Review
from e2miseg_napari.review_list import Stage

__all__ = ["Guide", "Step", "next_step"]


class Step(StrEnum):
    """What comes next, in words."""

    OPEN = (
        "Open a volume: a file, a DICOM folder, an OME-Zarr, a URL, or the sample "
        "(File > Open Sample > E2MISeg)."
    )
    PREDICT = (
        "<b>1</b> Press <b>Predict</b>: the model labels the volume and ranks the "
        "edges it is unsure of."
    )
    CONTINUE = (
        "<b>Continue</b> takes up your work on this image again. <b>Predict</b> does "
        "so too, and labels it anew around what you have said."
    )
    UNFIT = (
        "The model does not fit this volume, as is said below: choose another volume "
        "or another model."
    )
    NO_MODEL = "Add a model file: <b>Model</b> in the tab Predict."
    LABELS_REMOVED = (
        "The labels were removed from the list of layers; your work is kept. "
        "<b>Show the case again</b> goes on with it."
    )
    IMAGE_REMOVED = (
        "The image was removed from the list of layers. <b>Show the image again</b> "
        "puts it back."
    )
    FIND_IMAGE = "Tell the project where its image is now: <b>Where is it…</b>"
    WAIT = (
        "The labels appear while they are computed. Look around, or paint, meanwhile."
    )
    GO_ON = "You can go on painting and reviewing meanwhile."
    RANK = "<b>2</b> Press <b>Find uncertain edges</b> in the tab Review."
    REVIEW = (
        "<b>2</b> Press <b>.</b> to go to an uncertain edge. Paint (<b>2</b>) or erase "
        "(<b>1</b>), then <b>C</b> corrected, <b>A</b> fine as it is, <b>S</b> skip: "
        "the next one follows."
    )
    NOTHING = (
        "No edge is uncertain. Paint wherever you see a mistake, save the labels, or "
        "open another volume."
    )
    FINE_TUNE = (
        "<b>3</b> <b>Fine-tune</b> the model on what you have reviewed, while you go "
        "on. It is kept only if it proves better."
    )
    LEARN = "The model is learning from you. Go on painting and reviewing meanwhile."


class Guide(TextLine):
    """The next step in words, whatever happens.

    Parameters
    ----------
    predicting, reviewing, finetuning : QObject
        What runs, and how far it is.
    predict : PredictTab
        Which image and model are chosen.
    known : KnownProject
        Of that image.
    """

    def __init__(
        self,
        predicting: Predicting,
        reviewing: Review,
        finetuning: Finetuning,
        *,
        predict: PredictTab,
        known: KnownProject,
    ) -> None:
        super().__init__()
        self._predicting, self._reviewing = predicting, reviewing
        self._finetuning, self._predict, self._known = finetuning, predict, known
        for change in (
            predicting.changed,
            reviewing.changed,
            finetuning.changed,
            predict.chosen,
            reviewing.session.opened,
            reviewing.session.removed,
            known.changed,
        ):
            change.connect(self._tell)
        self._tell()

    def _tell(self, _state: object = None) -> None:
        self.setText(self._step().value)

    def _step(self) -> Step:
        stage, tally = self._reviewing.stage, self._reviewing.tally
        if self._predicting.state.phase != Phase.IDLE:
            first = stage in {Stage.NO_CASE, Stage.NO_PREDICTION}
            return Step.WAIT if first else Step.GO_ON
        if self._finetuning.state.phase != FinetunePhase.IDLE:
            return Step.LEARN
        session, choice = self._reviewing.session, self._predict.volume.choice
        taken_away = session.taken_away
        if taken_away and not (choice and session.is_left_for(choice.uri)):
            return Step.LABELS_REMOVED if taken_away == "labels" else Step.IMAGE_REMOVED
        return next_step(
            stage,
            volume=self._predict.volume.choice is not None,
            obstacle=self._obstacle(),
            known=self._known.path is not None,
            edges=tally.edges,
            done=tally.done,
            needed=NEEDED,
        )

    def _obstacle(self) -> Step | None:
        if self._predict.model.card is None:
            return Step.NO_MODEL
        return None if self._predict.fits else Step.UNFIT


def next_step(
    stage: Stage,
    *,
    volume: bool,
    obstacle: Step | None = None,
    known: bool,
    edges: int,
    done: int,
    needed: int,
) -> Step:
    """Which step comes next, while nothing runs.

    Parameters
    ----------
    stage : Stage
        Of the review.
    volume : bool
        Whether there is an image to predict.
    obstacle : Step, optional
        What comes before that image can be predicted.
    known : bool
        Whether a project holds that image, which could be opened.
    edges, done, needed : int
        Uncertain edges, those that were corrected or found fine, and how many of these
        fine-tuning needs.
    """
    if stage == Stage.NO_IMAGE:
        return Step.FIND_IMAGE
    if stage in {Stage.NO_CASE, Stage.NO_PREDICTION}:
        if not volume:
            return Step.OPEN
        if known:
            return Step.CONTINUE
        return obstacle or Step.PREDICT
    if stage == Stage.NOT_RANKED:
        return Step.RANK
    if done >= needed:
        return Step.FINE_TUNE
    return Step.REVIEW if edges else Step.NOTHING
