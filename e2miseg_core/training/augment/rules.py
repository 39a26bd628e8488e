"""Which changes, how likely and how large: the lists of the two networks."""

from dataclasses import dataclass, fields, replace
from typing import Any

from e2miseg_core.errors import ConfigError

__all__ = ["EHANET", "FIRST", "NNUNET", "NNUNET_CODE", "AugmentationRules"]

# The rest is probabilities.
_NUMBERS = ("angle", "plane_angle", "holes", "hole_size", "noise_by_deviation")


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationRules:
    """Probabilities of the changes, and the sizes in which the lists differ.

    A probability of 0 turns a change off. Ranges that both lists share are those of
    specification A.6 and stand where they are drawn.

    Attributes
    ----------
    rotation, scaling : float
        Probabilities of turning, and of one factor for all axes.
    angle : float
        Largest angle about each axis, in degrees.
    plane_angle : float
        The same where a patch is only turned in its plane.
    noise, blur, brightness, contrast, low_resolution, inverted_gamma, gamma : float
        Probabilities, in the order in which the changes are made.
    noise_by_deviation : bool
        The noise's standard deviation is drawn evenly, up to 0.1, as nnU-Net's code
        does; else its variance, as its paper says.
    channel : float
        Probability of each channel to be blurred, or lowered in resolution, where the
        sample is.
    mirroring : float
        Probability of each axis.
    dropout : float
        Probability of holes in the image; what the labels say of them still counts,
        so that the network learns to bridge them.
    holes, hole_size : int
        At most so many holes, each of so many voxels along every axis that is turned.

    References
    ----------
    Specification A.6 (the list of nnU-Net v1, "moreDA") and B.7.
    """

    rotation: float = 0.2
    scaling: float = 0.2
    angle: float = 30.0
    plane_angle: float = 180.0
    noise: float = 0.1
    blur: float = 0.2
    brightness: float = 0.15
    contrast: float = 0.15
    low_resolution: float = 0.25
    inverted_gamma: float = 0.1
    gamma: float = 0.3
    noise_by_deviation: bool = False
    channel: float = 0.5
    mirroring: float = 0.5
    dropout: float = 0.0
    holes: int = 10
    hole_size: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (field.name not in _NUMBERS and value > 1):
                raise ConfigError(
                    found=f"{field.name} {value} for augmentation",
                    needed="a number from 0, and of probabilities up to 1",
                    do="correct it",
                )

    @classmethod
    def none(cls) -> "AugmentationRules":
        """No change at all: the patch as it is."""
        chances = (f.name for f in fields(cls) if f.name not in _NUMBERS)
        off: dict[str, Any] = dict.fromkeys(chances, 0.0)
        return cls(**off)


NNUNET = AugmentationRules()
NNUNET_CODE = replace(NNUNET, noise_by_deviation=True)
# The shorter list by which models were trained before recipes named theirs.
FIRST = replace(
    NNUNET_CODE, contrast=0.0, low_resolution=0.15, inverted_gamma=0.0, channel=1.0
)
EHANET = AugmentationRules(
    rotation=0.3,
    scaling=0.0,
    angle=35.0,
    plane_angle=35.0,
    noise=0.0,
    blur=0.0,
    brightness=0.0,
    contrast=0.0,
    low_resolution=0.0,
    inverted_gamma=0.0,
    gamma=0.0,
    mirroring=0.3,
    dropout=0.3,
)
