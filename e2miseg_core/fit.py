"""Whether a model fits an image. No torch here: the viewer asks too."""

from e2miseg_core.errors import ModelError
from e2miseg_core.geometry import Geometry
from e2miseg_core.model_card import ModelCard
from e2miseg_core.volume import Volume

__all__ = ["check_fit", "check_grid_fit", "doubt_fit"]

DOUBTFUL = 2.0  # ratio of spacings beyond which a model sees another world
FARTHEST = 8.0  # ratio of spacings beyond which an image cannot be what a model knows


def check_fit(volume: Volume, card: ModelCard) -> None:
    """Raise ModelError where a volume is not what a model was made for."""
    check_grid_fit(card, volume.n_channels, volume.geometry)


def check_grid_fit(card: ModelCard, n_channels: int, geometry: Geometry) -> None:
    """Raise ModelError where channels or spacing are not what a model was made for.

    Parameters
    ----------
    card : ModelCard
    n_channels : int
        Of the image.
    geometry : Geometry
        Of the image.

    Raises
    ------
    ModelError
        If the number of channels differs, or the spacing by more than 8 times.
    """
    if n_channels != len(card.channels):
        raise ModelError(
            found=f"an image of {n_channels} channels",
            needed=f"{len(card.channels)} ({', '.join(card.channels)})",
            do=f"choose an image that the model {card.name!r} was made for",
        )
    spacing = geometry.in_unit("mm").spacing
    ratios = [max(a / b, b / a) for a, b in zip(spacing, card.spacing, strict=True)]
    if max(ratios) > FARTHEST:
        mine, theirs = (_times(s) for s in (spacing, card.spacing))
        raise ModelError(
            found=f"voxels of {mine} mm (Z, Y, X)",
            needed=f"about {theirs} mm for the model {card.name!r}",
            do="choose another model, or correct the image's spacing",
        )


def doubt_fit(card: ModelCard, geometry: Geometry) -> str:
    """Why a result is likely to be poor, in a line for the user; empty if it is not.

    Parameters
    ----------
    card : ModelCard
    geometry : Geometry
        Of an image that `check_grid_fit` lets pass.
    """
    spacing = geometry.in_unit("mm").spacing
    ratio = max(max(a / b, b / a) for a, b in zip(spacing, card.spacing, strict=True))
    if ratio <= DOUBTFUL:
        return ""
    return (
        f"The model {card.name!r} was trained on voxels of {_times(card.spacing)} mm, "
        f"up to {ratio:.1f} times unlike these: expect a poor result."
    )


def _times(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing)
