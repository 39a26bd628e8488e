"""What a training set decides, and why: spacing, normalisation, patch, batch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks import (
    NetworkConfig,
    network_from_json,
    network_to_json,
)
from e2miseg_core.preprocess import Normalization

__all__ = ["NORMALIZATIONS", "PlanOverrides", "TrainingPlan"]

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]

# What a user may ask for instead of what the rules say, in words for --help.
NORMALIZATIONS: Mapping[str, str] = {
    "zscore": "mean and standard deviation of each case",
    "nonzero": "the same, of the voxels that are not 0",
    "ct": "clipped to the percentiles of the labelled voxels of the training set",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOverrides:
    """What the user wants otherwise; None leaves a choice to the rules.

    Attributes
    ----------
    spacing : tuple of 3 float, optional
        ZYX, mm.
    patch_size : tuple of 3 int, optional
        ZYX, voxels.
    batch_size : int, optional
    normalizations : tuple of str, optional
        Keys of `NORMALIZATIONS`, one for all channels or one a channel.
    stem_stride : tuple of 3 int, optional
        ZYX, of an E2MISeg network.
    slice_axis : int, optional
        0, 1 or 2 for Z, Y, X: across which a network of slices cuts volumes.
    anisotropic : bool, optional
        Whether augmentation turns and scales slices instead of volumes.
    """

    spacing: Spacing | None = None
    patch_size: Triple | None = None
    batch_size: int | None = None
    normalizations: tuple[str, ...] | None = None
    stem_stride: Triple | None = None
    slice_axis: int | None = None
    anisotropic: bool | None = None

    def __post_init__(self) -> None:
        numbers = (*(self.spacing or ()), *(self.patch_size or ()))
        numbers += (*(self.stem_stride or ()), self.batch_size or 1)
        if self.batch_size == 0 or not all(0 < n < float("inf") for n in numbers):
            raise ConfigError(
                found=f"spacing {self.spacing}, patch {self.patch_size}, batch "
                f"{self.batch_size}, stem {self.stem_stride}",
                needed="finite numbers above 0",
                do="correct the option",
            )
        unknown = set(self.normalizations or ()) - set(NORMALIZATIONS)
        if unknown:
            raise ConfigError(
                found=f"the normalisation {', '.join(sorted(unknown))}",
                needed=f"one of {', '.join(NORMALIZATIONS)}",
                do="correct --normalization",
            )

    @property
    def given(self) -> dict[str, Any]:
        """What is not left to the rules."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What was decided before training.

    Attributes
    ----------
    spacing : tuple of 3 float
        Of the model, ZYX, mm.
    normalizations : tuple of Normalization
        One a channel.
    network : NetworkConfig
        With patch and strides as planned.
    batch_size : int
    anisotropic : bool
        Augmentation turns and scales slice by slice ("dummy 2D").
    reasons : mapping of str to str
        Why, in plain words, by choice: spacing, normalization, patch_size, ...
    chosen : tuple of str
        Choices that the user made, fields of `PlanOverrides`.
    notes : tuple of str
        What the user should know about the data.
    data : mapping
        `Fingerprint.summary` of the cases.
    memory_bytes : int or None
        Estimate for a training step in float32; None where there is none.
    """

    spacing: Spacing
    normalizations: tuple[Normalization, ...]
    network: NetworkConfig
    batch_size: int
    anisotropic: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)
    chosen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    memory_bytes: int | None = None

    @property
    def patch_size(self) -> Triple:
        """ZYX, voxels."""
        return self.network.patch_size

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "spacing": list(self.spacing),
            "normalizations": [rule.to_json() for rule in self.normalizations],
            "patch_size": list(self.patch_size),
            "batch_size": self.batch_size,
            "anisotropic": self.anisotropic,
            "network": network_to_json(self.network),
            "reasons": dict(self.reasons),
            "chosen": list(self.chosen),
            "notes": list(self.notes),
            "data": dict(self.data),
            "memory_bytes": self.memory_bytes,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainingPlan":
        """Read what `to_json` wrote; ConfigError for anything else."""
        try:
            rest = {k: v for k, v in values.items() if k != "patch_size"}
            z, y, x = (float(s) for s in values["spacing"])
            rules = [Normalization.from_json(v) for v in values["normalizations"]]
            return cls(
                **rest
                | {
                    "spacing": (z, y, x),
                    "normalizations": tuple(rules),
                    "network": network_from_json(values["network"]),
                    "chosen": tuple(values["chosen"]),
                    "notes": tuple(values["notes"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                found=f"a training plan that cannot be read ({error})",
                needed="plan.json as this version writes it",
                do="begin the run anew with --overwrite",
            ) from error
