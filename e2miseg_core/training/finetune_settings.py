"""The numbers of a fine-tuning."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from e2miseg_core.errors import ConfigError

__all__ = ["FinetuneSettings"]

WARM_UP = 10  # steps; AdamW's first ones know nothing of the gradients' scale


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSettings:
    """The numbers of a fine-tuning.

    Attributes
    ----------
    steps : int
        Optimiser steps.
    batch : int
        Patches a step; a third of them show corrections, the others what the model
        knew before.
    learning_rate, weight_decay : float
        Of AdamW. The rate rises over 10 steps and falls as (1 - step / steps)^0.9.
    gradient_clip : float
        Largest gradient norm.
    seed : int
    checkpoint_every : int
        Steps that a crash may cost.
    test_every : int
        Steps between two looks at the held-out corrections; they only draw the curve.
    watch_every : int
        Steps between two looks at the replayed cases for what is being forgotten.
    device, precision : str
        See `e2miseg_core.devices`.
    """

    steps: int = 120
    batch: int = 3
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    gradient_clip: float = 12.0
    seed: int = 12345
    checkpoint_every: int = 10
    test_every: int = 25
    watch_every: int = 25
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        every = (self.checkpoint_every, self.test_every, self.watch_every)
        if (
            min(self.steps, self.batch - 1, *every) < 1
            or not 0 < self.learning_rate < math.inf
            or self.seed < 0
        ):
            raise ConfigError(
                found=f"{self.steps} steps, batch {self.batch}, learning rate "
                f"{self.learning_rate}, seed {self.seed}",
                needed="at least 1 step, a batch of 2 or more, a positive learning "
                "rate, a seed of 0 or more",
                do="correct the number",
            )

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FinetuneSettings":
        """Read some or all settings; ConfigError on unknown names or wrong types."""
        kinds = {f.name: type(getattr(cls(), f.name)) for f in fields(cls)}
        unknown = set(values) - set(kinds)
        try:
            read = {k: kinds[k](v) for k, v in values.items() if k in kinds}
        except (TypeError, ValueError) as error:
            raise _wrong_settings(error) from error
        if unknown:
            raise _wrong_settings(", ".join(sorted(unknown)))
        return cls(**read)

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, 0-based."""
        rising = min(1.0, (step + 1) / WARM_UP)
        return self.learning_rate * rising * float((1 - step / self.steps) ** 0.9)


def _wrong_settings(what: object) -> ConfigError:
    names = ", ".join(f.name for f in fields(FinetuneSettings))
    return ConfigError(
        found=f"wrong settings of a fine-tuning ({what})",
        needed=f"numbers for some of: {names}",
        do="correct the settings",
    )
