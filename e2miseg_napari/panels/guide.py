"""One line that says what to do next."""

from e2miseg_core.project import Case
from e2miseg_napari.panels.parts import TextLine

__all__ = ["Guide"]

_TEXTS = {
    "open": "Open a volume: a file, an OME-Zarr folder, or the sample "
    "(File > Open Sample > E2MISeg).",
    "predict": "<b>1</b> Press <b>Predict</b>: the model labels the volume and ranks "
    "the edges it is unsure of.",
    "review": "<b>2</b> Press <b>.</b> to go to an uncertain edge. Paint (<b>2</b>) or "
    "erase (<b>1</b>), then <b>C</b> corrected, <b>A</b> fine as it is, <b>S</b> skip: "
    "the next one follows.",
    "fine-tune": "<b>3</b> <b>Fine-tune</b> the model on what you have reviewed, while "
    "you go on. It is kept only if it proves better.",
    "working": "You can go on painting and reviewing meanwhile.",
}


class Guide(TextLine):
    """The next step in words."""

    def tell(self, step: str) -> None:
        """Show a step: "open", "predict", "review", "fine-tune" or "working"."""
        self.setText(_TEXTS[step])


def next_step(case: Case | None, *, volume: bool, reviewed: int, needed: int) -> str:
    """Which step comes next.

    Parameters
    ----------
    case : Case or None
        On show.
    volume : bool
        Whether there is an image to predict.
    reviewed, needed : int
        Edges with a verdict, and how many fine-tuning needs.
    """
    if case is None or case.prediction is None:
        return "predict" if volume else "open"
    return "review" if reviewed < needed else "fine-tune"
