"""Does a model fit an image? Asked before the engine is troubled with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from e2miseg_core.errors import ModelError
from e2miseg_core.fit import check_grid_fit, doubt_fit
from e2miseg_core.geometry import Geometry
from e2miseg_core.model_card import ModelCard

__all__ = ["Fit", "judge_fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Why a prediction is impossible, or what is doubtful about it; both may be empty.

    Attributes
    ----------
    refusal : str
        Why the model cannot take the image.
    doubt : str
        Why the result is likely to be poor.
    """

    refusal: str = ""
    doubt: str = ""


def judge_fit(
    card: ModelCard,
    channels: Sequence[str],
    geometry: Geometry,
    notes: Iterable[str] = (),
) -> Fit:
    """Compare an image with what a model was trained on.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    channels : sequence of str
        Of the image.
    geometry : Geometry
        Of the image.
    notes : iterable of str
        Of the image.
    """
    try:
        check_grid_fit(card, len(channels), geometry)  # as the engine will
    except ModelError as error:
        return Fit(refusal=str(error))
    return Fit(doubt=doubt_fit(card, geometry, channels, notes))
