"""How to train: the numbers of a run, and the presets' own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from e2miseg_core.errors import ConfigError
from e2miseg_core.losses import SS_FORMS

__all__ = ["RECIPES", "Recipe", "preset_recipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The numbers of a training run.

    Attributes
    ----------
    epochs, iterations : int
        Epochs, and optimiser steps in each.
    batch_size : int
    learning_rate, weight_decay : float
        Of AdamW; the rate falls as (1 - step / steps)^0.9.
    gradient_clip : float
        Largest gradient norm (specification A.6).
    ss_form, ss_weight
        See `e2miseg_core.losses.compound_loss`.
    validate_every : int
        Epochs between two looks at the selection cases.
    mirror_axes : tuple of int
        Axes of Z, Y, X that are mirrored at random in training. Volumes come in
        canonical orientation, so only X, left and right, by default.
    seed : int
    """

    epochs: int
    iterations: int
    batch_size: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    gradient_clip: float = 12.0
    ss_form: str = "paper"
    ss_weight: float = 1.45
    validate_every: int = 5
    mirror_axes: tuple[int, ...] = (2,)
    seed: int = 12345

    def __post_init__(self) -> None:
        counts = (self.epochs, self.iterations, self.batch_size, self.validate_every)
        if min(counts) < 1:
            raise ConfigError(
                found=f"epochs, iterations, batch size, validate_every of {counts}",
                needed="at least 1 each",
                do="correct the number",
            )
        if self.ss_form not in SS_FORMS:
            raise ConfigError(
                found=f"the SS form {self.ss_form!r}",
                needed=f"one of {', '.join(SS_FORMS)}",
                do="correct --ss",
            )

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.iterations

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, 0-based: polynomial decay, exponent 0.9."""
        return self.learning_rate * float((1 - step / self.steps) ** 0.9)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Read what `to_json` wrote; ConfigError on unknown keys."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(
                found=f"a recipe with the keys {sorted(unknown)}",
                needed="keys that this version knows",
                do="resume with the version that began the run",
            )
        axes = tuple(values.get("mirror_axes", ()))
        return cls(**{**values, "mirror_axes": axes})


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "tiny": Recipe(epochs=20, iterations=20),
        "small": Recipe(epochs=64, iterations=50, validate_every=8),
    }
)


def preset_recipe(preset: str, **changes: Any) -> Recipe:
    """The recipe of a preset, with some numbers changed; None changes nothing."""
    if preset not in RECIPES:
        raise ConfigError(
            found=f"the preset {preset!r}",
            needed=f"one of {', '.join(RECIPES)}",
            do="see `e2miseg networks`",
        )
    given = {k: v for k, v in changes.items() if v is not None}
    return replace(RECIPES[preset], **given)
