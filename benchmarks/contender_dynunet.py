"""MONAI's DynUNet as a contender, trained by a loop of ours.

It sees cases prepared by the same plan and augmented alike as those of our own network,
in patches of its own size, and its weights are chosen by the same rule. The learning
rate falls over the wall-clock budget. Network and loss: `benchmarks.dynunet`.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contest import Contest, predict_unseen
from benchmarks.dynunet import (
    Triple,
    UNet,
    deep_loss,
    optimizer_of,
    patch_of,
    safe_precision,
    strides_of,
)
from e2miseg_core.devices import autocast
from e2miseg_core.model import Model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import preset_config
from e2miseg_core.progress import run
from e2miseg_core.training.augment import Augmentation
from e2miseg_core.training.batches import Batch, BatchMaker, batches_ahead
from e2miseg_core.training.patches import PatchSampler
from e2miseg_core.training.plan import TrainingPlan
from e2miseg_core.training.planning import plan_training
from e2miseg_core.training.prepare import PreparedCase, prepare_case
from e2miseg_core.training.selection import SMOOTHING
from e2miseg_core.training.validation import mean_dice

__all__ = ["DynUNetSettings", "contend"]

MIRROR_AXES = (2,)  # left and right, as ours
EPOCH = 50  # steps: what "an epoch" is to the rule that chooses weights
LOOKS = 6  # at the selection cases
POWER, CLIP = 0.9, 12.0
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class DynUNetSettings:
    """`optimizer` is "adamw", as ours, or "sgd", as nnU-Net's."""

    batch_size: int = 2
    filters: int = 32
    optimizer: str = "adamw"
    precision: str = "auto"


def contend(contest: Contest, name: str, settings: DynUNetSettings) -> dict[str, Any]:
    """Train in the budget, keep the best weights, predict the unseen cases."""
    plan, prepared = _prepare(contest, name)
    patch = patch_of(prepared[0])
    torch.manual_seed(contest.seed)
    dataset = contest.dataset
    strides = strides_of(patch, plan.spacing)
    network = UNet(
        strides, len(dataset.channels), len(dataset.labels) + 1, settings.filters
    )
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    precision = safe_precision(settings.precision, patch, strides)
    training = Training(contest, settings, network, plan, patch, precision)
    told = training.run(*prepared)
    model = Model(network=network.eval(), card=_card(contest, plan, patch))  # type: ignore[arg-type]
    return told | {
        "parameters": sum(p.numel() for p in network.parameters()),
        "plan": {
            "patch_size": list(patch),
            "batch_size": settings.batch_size,
            "spacing": list(plan.spacing),
            "strides": strides,
            "optimizer": settings.optimizer,
        },
        "predictions": predict_unseen(contest, name, model),
    }


def _prepare(
    contest: Contest, name: str
) -> tuple[TrainingPlan, tuple[list[PreparedCase], list[PreparedCase]]]:
    split, dataset = contest.split, contest.dataset
    base = preset_config(
        "small", in_channels=len(dataset.channels), n_classes=len(dataset.labels) + 1
    )
    training = contest.cases(split.training)
    plan = run(plan_training(dataset, training, base, contest.overrides))
    folder = contest.folder / name / "cases"
    return plan, tuple(
        [
            run(prepare_case(case, dataset, plan.spacing, plan.normalizations, folder))
            for case in contest.cases(names)
        ]
        for names in (split.training, split.selection)
    )


def _card(contest: Contest, plan: TrainingPlan, patch: Triple) -> ModelCard:
    return ModelCard(
        name="dynunet",
        labels=contest.dataset.labels,
        channels=contest.dataset.channels,
        normalizations=plan.normalizations,
        spacing=plan.spacing,
        patch_size=patch,
        network={},
        precisions=("float32", "bfloat16"),
        training={"mirror_axes": list(MIRROR_AXES)},
    )


class Training:
    """The loop: steps until the budget is gone, with a few looks at selection cases."""

    def __init__(
        self,
        contest: Contest,
        settings: DynUNetSettings,
        network: UNet,
        plan: TrainingPlan,
        patch: Triple,
        precision: str,
    ) -> None:
        self.contest, self.settings = contest, settings
        self.network, self.plan, self.patch = network, plan, patch
        self.precision = precision
        self.config = SimpleNamespace(
            n_classes=len(contest.dataset.labels) + 1, patch_size=patch
        )
        self.optimizer = optimizer_of(settings.optimizer, network)
        self.rate = self.optimizer.param_groups[0]["lr"]
        self.loss = deep_loss(network.n_levels)
        self.smoothed: float | None = None
        self.best, self.chosen = -1.0, 0
        self.weights: dict[str, Tensor] = {}
        self.losses: list[float] = []
        self.looks: list[tuple[int, float]] = []

    def run(
        self, training: Sequence[PreparedCase], selection: Sequence[PreparedCase]
    ) -> dict[str, Any]:
        budget = self.contest.minutes * 60
        batches = self._batches(training)
        began = time.monotonic()
        # The last look comes after the last step, inside of the budget.
        look_s, due = 0.0, budget / LOOKS
        while (passed := time.monotonic() - began) < budget - look_s:
            self._step(*next(batches), share=passed / budget)
            if time.monotonic() - began >= due:
                look_s, due = self._look(selection), due + budget / LOOKS
        if not self.looks or self.looks[-1][0] < len(self.losses):
            self._look(selection)
        seconds = time.monotonic() - began
        batches.close()
        self.network.load_state_dict(self.weights)
        steps = len(self.losses)
        return {
            "seconds": seconds,
            "steps": steps,
            "samples": steps * self.settings.batch_size,
            "precision": self.precision,
            "chosen": f"step {self.chosen} of {steps}",
            "losses": self.losses,
            "looks": self.looks,
        }

    def _batches(self, cases: Sequence[PreparedCase]) -> Iterator[Batch]:
        """Batches without end, the next one made while one is trained on."""
        size = self.settings.batch_size
        make = BatchMaker(
            sampler=PatchSampler(cases, self.patch, size),
            augment=Augmentation(
                self.patch,
                MIRROR_AXES,
                dummy_2d=self.plan.anisotropic,
                zero_outside=[rule.nonzero for rule in self.plan.normalizations],
            ),
            seed=self.contest.seed,
            samples=range(size),
        )
        return batches_ahead(make, range(sys.maxsize), CPU, 1)

    def _step(self, image: Tensor, classes: Tensor, *, share: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * (1 - share) ** POWER
        self.network.train()
        image = image.contiguous(memory_format=torch.channels_last_3d)
        with autocast(CPU, self.precision):
            levels = self.network.levels(image)
        loss = self.loss(levels, classes[:, None])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.losses.append(float(loss.detach()))

    def _look(self, selection: Sequence[PreparedCase]) -> float:
        """Keep the weights if their smoothed Dice is the best; returns seconds."""
        began = time.monotonic()
        dice = run(mean_dice(self.network, self.config, selection, CPU, self.precision))
        steps = len(self.losses)
        since = steps - (self.looks[-1][0] if self.looks else 0)
        kept = SMOOTHING ** (since / EPOCH)
        old = dice if self.smoothed is None else self.smoothed
        self.smoothed = kept * old + (1 - kept) * dice
        self.looks.append((steps, dice))
        if self.smoothed >= self.best:
            self.best, self.chosen = self.smoothed, steps
            self.weights = {
                key: value.clone() for key, value in self.network.state_dict().items()
            }
        return time.monotonic() - began
