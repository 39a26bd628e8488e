"""Our own network as a contender, by the function behind `e2miseg train`."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from benchmarks.contest import WAYS, Contest, predict_unseen
from e2miseg_core.model import load_model
from e2miseg_core.progress import Job
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.train import (
    TrainingRequest,
    TrainingResult,
    train_model,
)

__all__ = [
    "Pace",
    "SmallSettings",
    "contend",
    "fitted",
    "measure_pace",
    "pace_of",
    "timed",
]

WARM_STEPS, EPOCH_STEPS = 20, 60  # of the trial whose pace is measured
VALIDATIONS = 6  # looks at the selection cases, about
MARGIN = 0.97  # of the budget is planned for, since no pace is kept exactly
TRAINING = ("training", "validating")  # stages of a job


@dataclass(frozen=True, kw_only=True)
class SmallSettings:
    """Preset, and what differs from its recipe and its network."""

    preset: str = "small"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of a step, of an epoch's end and of a look at the selection cases.

    An epoch ends with a checkpoint and drawn curves; a look has its pictures.
    """

    step: float
    epoch_end: float
    validation: float

    def seconds(self, recipe: Recipe) -> float:
        """What a training takes at this pace."""
        looks = sum(recipe.validates(epoch) for epoch in range(1, recipe.epochs + 1))
        steps = recipe.epochs * (recipe.iterations * self.step + self.epoch_end)
        return steps + looks * self.validation


def contend(
    contest: Contest,
    name: str,
    settings: SmallSettings,
    *,
    epochs: int | None = None,
    ways: Sequence[str] = WAYS,
) -> dict[str, Any]:
    """Train in the budget (or for `epochs`) and predict the unseen cases."""
    request = request_of(contest, name, settings)
    pace = None
    if epochs is None:
        pace = measure_pace(request)
        request = fitted(request, pace, contest.minutes * 60)
    else:
        request = scheduled(request, epochs)
    result, seconds = timed(train_model(request))
    return told(result, request, pace) | {
        "seconds": seconds,
        "predictions": predict_unseen(contest, name, load_model(result.path), ways),
    }


def request_of(contest: Contest, name: str, settings: SmallSettings) -> TrainingRequest:
    recipe = preset_recipe(settings.preset, **{"seed": contest.seed, **settings.recipe})
    return TrainingRequest(
        dataset=contest.dataset,
        folder=contest.folder / name / "run",
        preset=settings.preset,
        recipe=recipe,
        fold=contest.fold,
        split_by=contest.split_by,
        device="cpu",
        overwrite=True,
        network=settings.network,
        overrides=contest.overrides,
    )


def timed(job: Job[TrainingResult]) -> tuple[TrainingResult, float]:
    """The result, and the training's seconds by the clock on the wall.

    They go from the last sign of life before the first step to the first one after the
    last: building the network, checkpoints, curves and storing the model lie inside.
    """
    before, began, ended = time.monotonic(), math.nan, math.nan
    while True:
        try:
            stage = next(job).stage
        except StopIteration as done:
            return done.value, ended - began
        now = time.monotonic()
        if stage in TRAINING and math.isnan(began):
            began = before
        elif stage not in TRAINING and not math.isnan(began) and math.isnan(ended):
            ended = now
        before = now


def measure_pace(request: TrainingRequest) -> Pace:
    """Train an epoch without a look and one with, begin a third, and leave it."""
    recipe = replace(request.recipe, epochs=3, iterations=EPOCH_STEPS, validate_every=2)
    job = train_model(replace(request, recipe=recipe))
    times: list[float] = []
    for progress in job:
        if progress.stage == "training":
            times.append(time.monotonic())
        if len(times) > 2 * EPOCH_STEPS:
            break
    job.close()
    return pace_of(times)


def pace_of(times: list[float]) -> Pace:
    """The pace by when each step of `measure_pace` was done."""
    gaps = [after - before for before, after in pairwise(times)]
    first, second = EPOCH_STEPS - 1, 2 * EPOCH_STEPS - 1
    inside = gaps[WARM_STEPS:first] + gaps[first + 1 : second]
    step = sum(inside) / len(inside)
    end = max(0.0, gaps[first] - step)
    return Pace(
        step=step, epoch_end=end, validation=max(0.0, gaps[second] - step - end)
    )


def scheduled(request: TrainingRequest, epochs: int) -> TrainingRequest:
    every = max(1, round(epochs / VALIDATIONS))
    return replace(
        request, recipe=replace(request.recipe, epochs=epochs, validate_every=every)
    )


def fitted(request: TrainingRequest, pace: Pace, seconds: float) -> TrainingRequest:
    """The schedule pressed into the budget: as many whole epochs as fit."""
    epochs = int(seconds / (pace.step * request.recipe.iterations)) + 1
    while epochs > 1:
        found = scheduled(request, epochs)
        if pace.seconds(found.recipe) <= MARGIN * seconds:
            return found
        epochs -= 1
    return scheduled(request, 1)


def told(
    result: TrainingResult, request: TrainingRequest, pace: Pace | None
) -> dict[str, Any]:
    recipe, training = request.recipe, result.card.training
    batch_size = int(training["plan"]["batch_size"])
    return {
        "parameters": sum(
            p.numel() for p in load_model(result.path).network.parameters()
        ),
        "steps": recipe.steps,
        "samples": recipe.steps * batch_size,
        "plan": {
            "patch_size": list(result.card.patch_size),
            "batch_size": batch_size,
            "spacing": list(result.card.spacing),
        },
        "pace": None if pace is None else asdict(pace),
        "recipe": recipe.to_json(),
        "precision": str(training["precision"]),
        "chosen": f"epoch {training['best_epoch']} of {recipe.epochs}",
        "model": str(result.path),
    }
