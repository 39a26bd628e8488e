"""Whether a model fits an image. No torch here: the viewer asks too."""

import re
from collections.abc import Iterable, Sequence

from e2miseg_core.errors import ModelError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io.stated_spacing import has_assumed_spacing
from e2miseg_core.model_card import ModelCard
from e2miseg_core.volume import Volume

__all__ = ["check_fit", "check_grid_fit", "doubt_fit", "modality"]

# Words in the names of channels. DICOM's are CT, MR and, of PET, PT or SUV.
_MODALITIES = {
    "CT": frozenset({"ct", "cta", "cbct", "hu"}),
    "PET": frozenset({"pet", "pt", "suv", "suvbw", "fdg"}),
    "MR": frozenset(
        {"mr", "mri", "t1", "t1w", "t1c", "t1ce", "t1gd", "t2", "t2w", "flair", "dwi"}
    ),
    "ultrasound": frozenset({"us", "ultrasound"}),
    "microscopy": frozenset({"em", "sem", "tem", "dapi", "gfp", "rfp"}),
}

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


def doubt_fit(
    card: ModelCard,
    geometry: Geometry,
    channels: Sequence[str] = (),
    notes: Iterable[str] = (),
) -> str:
    """Why a result is likely to be poor, in a line for the user; empty if it is not.

    Parameters
    ----------
    card : ModelCard
    geometry : Geometry
        Of an image that `check_grid_fit` lets pass.
    channels : sequence of str
        Names of its channels, which may tell the modality.
    notes : iterable of str
        Of the volume, which tell whether its spacing was assumed.
    """
    doubts = [_doubt_channels(card, channels), _doubt_spacing(card, geometry)]
    if has_assumed_spacing(notes):
        doubts.append(
            "The size of the voxels was assumed: state it, for the model "
            f"{card.name!r} depends on it."
        )
    return " ".join(doubt for doubt in doubts if doubt)


def _doubt_channels(card: ModelCard, channels: Sequence[str]) -> str:
    for number, (mine, theirs) in enumerate(
        zip(channels, card.channels, strict=False), start=1
    ):
        found, wanted = modality(mine), modality(theirs)
        if found and wanted and found != wanted:
            which = "The image" if len(card.channels) == 1 else f"Channel {number}"
            return (
                f"{which} is {found} ({mine}), but the model {card.name!r} was "
                f"trained on {wanted} ({theirs}): expect a poor result."
            )
    return ""


def modality(channel: str) -> str:
    """What a channel's name says that it was taken with, empty if it says nothing."""
    words = set(re.findall(r"[a-z]+[0-9]*", channel.lower()))
    found = [name for name, known in _MODALITIES.items() if words & known]
    return found[0] if len(found) == 1 else ""


def _doubt_spacing(card: ModelCard, geometry: Geometry) -> str:
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
