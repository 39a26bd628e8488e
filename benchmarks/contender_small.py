"""Our own network as a contender, by the function behind `e2miseg train`."""

import csv
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, predict_unseen
from e2miseg_core.model import load_model
from e2miseg_core.progress import run
from e2miseg_core.training.plan import PlanOverrides
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.train import (
    TrainingRequest,
    TrainingResult,
    train_model,
)

__all__ = ["Pace", "SmallSettings", "contend", "fitted", "measure_pace"]

WARM_STEPS, TIMED_STEPS = 4, 16
VALIDATIONS = 6  # looks at the selection cases, at most
RESERVE = 0.99  # of the budget is planned for: a checkpoint an epoch costs too


@dataclass(frozen=True, kw_only=True)
class SmallSettings:
    """Preset, and what differs from its recipe, its network and its plan."""

    preset: str = "small"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    overrides: PlanOverrides = field(default_factory=PlanOverrides)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of a step and of a look at the selection cases, here and now."""

    step: float
    validation: float


def contend(
    contest: Contest, name: str, settings: SmallSettings, *, epochs: int | None = None
) -> dict[str, Any]:
    """Train in the budget (or for `epochs`) and predict the unseen cases."""
    request = request_of(contest, name, settings)
    pace = None
    if epochs is None:
        pace = measure_pace(request)
        request = fitted(request, pace, contest.minutes * 60)
    else:
        request = scheduled(request, epochs)
    result = run(train_model(request))
    return told(result, request, pace) | {
        "predictions": predict_unseen(contest, name, load_model(result.path))
    }


def request_of(contest: Contest, name: str, settings: SmallSettings) -> TrainingRequest:
    recipe = preset_recipe(settings.preset, **{"seed": contest.seed, **settings.recipe})
    return TrainingRequest(
        dataset=contest.dataset,
        folder=contest.folder / name / "run",
        preset=settings.preset,
        recipe=recipe,
        fold=contest.fold,
        device="cpu",
        overwrite=True,
        network=settings.network,
        overrides=settings.overrides,
    )


def measure_pace(request: TrainingRequest) -> Pace:
    """Train one short epoch and leave it: what do a step and a validation take?"""
    steps = WARM_STEPS + TIMED_STEPS
    recipe = replace(request.recipe, epochs=1, iterations=steps, validate_every=1)
    job = train_model(replace(request, recipe=recipe))
    times, validated, last = [], 0.0, 0.0
    for progress in job:
        if progress.stage == "training":
            times.append(time.monotonic())
        elif times and progress.stage == "validating":
            validated = time.monotonic() - times[-1]
            last = progress.done / progress.total
        elif times:
            break
    job.close()
    step = (times[-1] - times[WARM_STEPS - 1]) / TIMED_STEPS
    return Pace(step=step, validation=validated / (last or 1.0))


def scheduled(request: TrainingRequest, epochs: int) -> TrainingRequest:
    every = max(1, round(epochs / VALIDATIONS))
    return replace(
        request, recipe=replace(request.recipe, epochs=epochs, validate_every=every)
    )


def fitted(request: TrainingRequest, pace: Pace, seconds: float) -> TrainingRequest:
    """The schedule pressed into the budget: as many whole epochs as fit."""
    left = RESERVE * seconds - VALIDATIONS * pace.validation
    epochs = max(1, int(left / (pace.step * request.recipe.iterations)))
    return scheduled(request, epochs)


def seconds_of(run_folder: Path) -> float:
    """Seconds of training and validation, as the run's curve says at its end."""
    with (run_folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return float(list(csv.DictReader(file))[-1]["seconds"])


def told(
    result: TrainingResult, request: TrainingRequest, pace: Pace | None
) -> dict[str, Any]:
    recipe, training = request.recipe, result.card.training
    batch_size = int(training["plan"]["batch_size"])
    return {
        "parameters": sum(
            p.numel() for p in load_model(result.path).network.parameters()
        ),
        "seconds": seconds_of(request.folder),
        "steps": recipe.steps,
        "samples": recipe.steps * batch_size,
        "plan": {
            "patch_size": list(result.card.patch_size),
            "batch_size": batch_size,
            "spacing": list(result.card.spacing),
        },
        "pace": None
        if pace is None
        else {"step": pace.step, "validation": pace.validation},
        "recipe": recipe.to_json(),
        "precision": str(training["precision"]),
        "chosen": f"epoch {training['best_epoch']} of {recipe.epochs}",
        "model": str(result.path),
    }
