"""How to train: the numbers of a run."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from e2miseg_core.errors import ConfigError
from e2miseg_core.losses import LossSettings
from e2miseg_core.losses.settings import check_choice

__all__ = ["OPTIMIZERS", "SCHEDULES", "Recipe"]

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("poly", "cosine", "constant")
AUGMENTATIONS = ("nnunet", "nnunet_code", "ehanet", "none", "first")
POLY_EXPONENT = 0.9
LARGEST_SEED = 2**62  # to which steps are added; torch takes numbers below 2^63


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(LossSettings):
    """The numbers of a training run; those of its loss are `LossSettings`.

    Attributes
    ----------
    epochs, iterations : int
        Epochs, and optimiser steps in each.
    batch_size : int
        Samples a step, over all processes together.
    optimizer : {"adamw", "adam", "sgd"}
        SGD is with Nesterov momentum, or without any.
    learning_rate : float
        The largest one.
    momentum : float
        Of SGD.
    weight_decay : float
        Decoupled in AdamW, part of the gradient in SGD and Adam.
    decay_all : bool
        Decay every parameter, as published; else none of norms, biases, layer scales,
        temperatures and position embeddings (specification A.8, defect 19).
    schedule : {"poly", "cosine", "constant"}
        How the rate falls: (1 - t)^0.9, (1 + cos(pi t)) / 2, or not at all, with t the
        share of the run that is done.
    rate_per_epoch : bool
        The rate stays the same during an epoch, as published.
    warm_up : int
        Steps in which the rate rises linearly to its place.
    gradient_clip : float
        Largest gradient norm (specification A.6).
    weight_average : float
        Largest decay of a moving average of the weights, 0 for none; the selection
        cases choose between the weights and their average. See
        `e2miseg_core.training.optimisers.WeightAverage`.
    validate_every : int
        Epochs between two looks at the selection cases.
    validation_patches : int
        Patches of the selection cases that are looked at; 0 for whole cases.
    rescue_after : float
        Share of the run after which a network that has found nothing yet begins anew
        with less momentum (specification A.6); 0 for never.
    augmentation : {"nnunet", "nnunet_code", "ehanet", "none", "first"}
        Which list of random changes; "nnunet_code" is nnU-Net's with the noise of its
        code, "first" the shorter one from before recipes named theirs.
    cubic : bool
        Turn images by cubic splines, as published, not linearly.
    mirror_axes : tuple of int
        Axes of Z, Y, X that are mirrored at random in training. Volumes come in
        canonical orientation, so only X, left and right, by default. See
        `mirrored_axes`.
    seed : int
    """

    epochs: int
    iterations: int
    batch_size: int = 2
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.99
    weight_decay: float = 1e-2
    decay_all: bool = True
    schedule: str = "poly"
    rate_per_epoch: bool = False
    warm_up: int = 0
    gradient_clip: float = 12.0
    weight_average: float = 0.0
    validate_every: int = 5
    validation_patches: int = 0
    rescue_after: float = 0.0
    augmentation: str = "nnunet"
    cubic: bool = False
    mirror_axes: tuple[int, ...] = (2,)
    seed: int = 12345

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_rates()
        LossSettings.__post_init__(self)  # super() fails in a class with slots
        check_choice("optimiser", self.optimizer, OPTIMIZERS, "--optimizer")
        check_choice("schedule", self.schedule, SCHEDULES, "--schedule")
        check_choice("augmentation", self.augmentation, AUGMENTATIONS, "the recipe")
        axes = self.mirror_axes
        if not {*axes} <= {0, 1, 2} or len({*axes}) < len(axes):
            raise ConfigError(
                found=f"the mirror axes {axes}",
                needed="some of 0, 1, 2 for Z, Y, X, each once",
                do="correct the recipe",
            )

    def _check_counts(self) -> None:
        counts = (self.epochs, self.iterations, self.batch_size, self.validate_every)
        if min(counts) < 1:
            raise ConfigError(
                found=f"epochs, iterations, batch size, validate_every of {counts}",
                needed="at least 1 each",
                do="correct the number",
            )
        more = (self.warm_up, self.validation_patches, self.seed)
        if min(more) < 0:
            raise ConfigError(
                found=f"warm-up, validation patches, seed of {more}",
                needed="at least 0 each",
                do="correct the number",
            )
        if self.seed > LARGEST_SEED:
            raise ConfigError(
                found=f"a seed of {len(str(self.seed))} digits",
                needed=f"a whole number from 0 to {LARGEST_SEED}",
                do="correct --seed",
            )

    def _check_rates(self) -> None:
        if not (0 < self.learning_rate < math.inf and self.gradient_clip > 0):
            raise ConfigError(
                found=f"a learning rate of {self.learning_rate} and a gradient clip of "
                f"{self.gradient_clip}",
                needed="positive numbers",
                do="correct the number",
            )
        if not (0 <= self.weight_decay < math.inf):
            raise ConfigError(
                found=f"a weight decay of {self.weight_decay}",
                needed="0 or a positive number",
                do="correct --weight-decay",
            )
        shares = (self.momentum, self.weight_average, self.rescue_after)
        if not all(0 <= share < 1 for share in shares):
            raise ConfigError(
                found=f"momentum, weight average, rescue_after of {shares}",
                needed="numbers from 0 to below 1",
                do="correct the number",
            )

    @property
    def mirrored_axes(self) -> tuple[int, ...]:
        """The axes that are mirrored: none where nothing is augmented."""
        return () if self.augmentation == "none" else self.mirror_axes

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.iterations

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, 0-based."""
        begun = step - step % self.iterations if self.rate_per_epoch else step
        done = begun / self.steps
        falling: float = {
            "poly": float((1 - done) ** POLY_EXPONENT),
            "cosine": (1 + math.cos(math.pi * done)) / 2,
            "constant": 1.0,
        }[self.schedule]
        rising = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        return self.learning_rate * rising * falling

    def validates(self, epoch: int) -> bool:
        """Whether the selection cases are looked at after an epoch, 1-based."""
        return epoch % self.validate_every == 0 or epoch == self.epochs

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Read what `to_json` wrote, or an earlier version's; ConfigError otherwise.

        Earlier ones do not name their augmentation: it was the first list.
        """
        try:
            axes = tuple(values.get("mirror_axes", ()))
            return cls(**{"augmentation": "first", **values, "mirror_axes": axes})
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                found=f"a recipe that cannot be read ({error!s:.100})",
                needed="the numbers of a training that this version knows",
                do="use the version that trained the model",
            ) from error
