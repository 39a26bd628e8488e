"""From a data set to a model file with its card: the whole of `e2miseg train`."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from e2miseg_core import __version__
from e2miseg_core.errors import DatasetError, GeometryError, ReadError
from e2miseg_core.io.atomic import write_json
from e2miseg_core.model import load_model, save_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import Network
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.batches import recipe_augmentation
from e2miseg_core.training.begin import (
    begin_run,
    common_facts,
    plan_training_of,
    planned_recipe,
)
from e2miseg_core.training.calibrate import calibrate_as_stored
from e2miseg_core.training.dataset import Case
from e2miseg_core.training.first_card import first_card
from e2miseg_core.training.plan import TrainingPlan
from e2miseg_core.training.prepare import PreparedCase, prepare_cases
from e2miseg_core.training.report import card_metrics, report_on_cases
from e2miseg_core.training.request import TrainingRequest, TrainingResult
from e2miseg_core.training.run import TrainingRun
from e2miseg_core.training.run_folder import (
    CASES,
    MODEL,
    UNREPORTED,
    check_folder,
    clear_folder,
    working_in,
)
from e2miseg_core.training.stored_plan import RunPlan

__all__ = ["TrainingRequest", "TrainingResult", "plan_training_of", "train_model"]

REPORT = "report.json"


def train_model(request: TrainingRequest) -> Job[TrainingResult]:
    """Train, calibrate, report and write a model.

    Raises
    ------
    DatasetError
        If the data set cannot be used.
    WriteError
        If the folder holds a run and neither `resume` nor `overwrite` is set, or if
        another program is at work there.
    ConfigError
        If a setting is wrong, or a resumed run was begun with others.
    """
    folder = request.folder
    check_folder(folder, resume=request.resume, overwrite=request.overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    with working_in(folder) if request.team.is_first else nullcontext():
        return (yield from _train(request))


def _train(request: TrainingRequest) -> Job[TrainingResult]:
    split = request.split
    made, weights = yield from begin_run(request, split)
    plan = made.plan
    yield Progress(
        done=1,
        total=1,
        stage="planned",
        details={"plan": plan.to_json(), "split": split.parts},
    )
    request = replace(request, recipe=planned_recipe(request.recipe, plan))
    with request.team.first_goes_ahead():
        training = yield from _prepared(request, plan, split.training)
        selection = yield from _prepared(request, plan, split.selection)
    run = _begun(request, made, weights)
    run.say(_described(request, plan))
    augment = recipe_augmentation(
        request.recipe,
        plan.patch_size,
        dummy_2d=plan.anisotropic,
        normalizations=plan.normalizations,
    )
    trained = yield from run.train(
        training, selection, augment, workers=request.workers
    )
    if request.team.is_first:
        run.say(f"trained; weights of epoch {trained.best_epoch} are kept")
        card = first_card(request, plan, split, trained)
        unseen = _cases(request, split.unseen)
        report = partial(report_on_cases, cases=unseen, groups=split.groups)
        result = yield from _finish(run, trained.network, card, selection, report)
        request.team.wait()
    else:
        request.team.wait()
        result = _written(request.folder)
    return result


def _cases(request: TrainingRequest, names: Sequence[str]) -> list[Case]:
    by_name = {case.name: case for case in request.dataset.cases}
    return [by_name[name] for name in names]


def _prepared(
    request: TrainingRequest, plan: TrainingPlan, names: Sequence[str]
) -> Job[list[PreparedCase]]:
    """Cases on the plan's grid, in the run's folder."""
    return prepare_cases(
        _cases(request, names),
        request.dataset,
        plan.spacing,
        plan.normalizations,
        request.folder / CASES,
    )


def _begun(
    request: TrainingRequest, made: RunPlan, weights: Path | None
) -> TrainingRun:
    """A run at its first step, or where the one that is resumed stood."""
    run = TrainingRun(
        request.folder,
        made.plan.network,
        request.recipe,
        device=request.device,
        precision=request.precision,
        facts=common_facts(request.dataset, made.plan, request.split),
        team=request.team,
    )
    if not request.begins:
        run.resume()
        return run
    if request.team.is_first:
        clear_folder(request.folder)
        made.write(request.folder)
    run.begin_with(weights)
    return run


def _written(folder: Path) -> TrainingResult:
    """What the first process of a team has made."""
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    card = load_model(folder / MODEL).card
    return TrainingResult(path=folder / MODEL, card=card, report=report)


def _described(request: TrainingRequest, plan: TrainingPlan) -> str:
    """What is trained, in a line for the log."""
    split, recipe = request.split, request.recipe
    spacing = " x ".join(f"{step:.4g}" for step in plan.spacing)
    patch = " x ".join(map(str, plan.patch_size))
    return (
        f"e2miseg {__version__}, preset {request.preset}, {request.dataset.name} fold "
        f"{request.fold}: {len(split.training)} cases train, {len(split.selection)} "
        f"choose, {len(split.unseen)} unseen; spacing {spacing} mm, patch {patch}, "
        f"batch {plan.batch_size}, {recipe.epochs} epochs of {recipe.iterations}, seed "
        f"{recipe.seed}, device {request.device}"
    )


def _finish(
    run: TrainingRun,
    network: Network,
    card: ModelCard,
    selection: Sequence[PreparedCase],
    report_on: Callable[..., Job[dict[str, Any]]],
) -> Job[TrainingResult]:
    """Calibrate, report, and give the model its name when its card is complete."""
    model = yield from calibrate_as_stored(network, card, run, selection)
    # What is wrong with an unseen case must not cost the training.
    unreported = run.folder / UNREPORTED
    save_model(model.network, model.card, unreported)
    n_unseen = len(card.training["unseen"])
    run.say(f"wrote {UNREPORTED}; reporting on {n_unseen} unseen cases")
    try:
        report = yield from report_on(
            model, device=run.device.type, html=run.folder / "report.html"
        )
    except (ReadError, GeometryError, DatasetError) as error:
        raise DatasetError(
            found=f"trained, but no report: {error.found}",
            needed=error.needed,
            do=f"{error.do}, then go on with --resume; the model is {unreported}",
        ) from error
    card = replace(model.card, metrics=card_metrics(report))
    write_json(run.folder / REPORT, report)
    card = save_model(model.network, card, run.folder / MODEL)
    unreported.unlink()
    run.say(f"wrote {MODEL}; unseen Dice {report['means']['dice']:.4f}")
    return TrainingResult(path=run.folder / MODEL, card=card, report=report)
