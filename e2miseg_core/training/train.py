"""From a data set to a model file with its card: the whole of `e2miseg train`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from e2miseg_core import __version__
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
from e2miseg_core.training.run_folder import MODEL, check_folder, clear_folder

__all__ = ["TrainingRequest", "TrainingResult", "plan_training_of", "train_model"]

REPORT = "report.json"


def train_model(request: TrainingRequest) -> Job[TrainingResult]:
    """Train, calibrate, report and write a model.

    Raises
    ------
    DatasetError
        If the data set cannot be used.
    WriteError
        If the folder holds a run and neither `resume` nor `overwrite` is set.
    ConfigError
        If a setting is wrong, or a resumed run was begun with others.
    """
    folder, dataset = request.folder, request.dataset
    check_folder(folder, resume=request.resume, overwrite=request.overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    split = request.split
    by_name = {case.name: case for case in dataset.cases}
    made, weights = yield from begin_run(request, split)
    plan = made.plan
    yield Progress(
        done=1,
        total=1,
        stage="planned",
        details={"plan": plan.to_json(), "split": asdict(split)},
    )
    recipe = planned_recipe(request.recipe, plan)
    request = replace(request, recipe=recipe)

    def prepared(names: Sequence[str]) -> Job[list[PreparedCase]]:
        return prepare_cases(
            [by_name[name] for name in names],
            dataset,
            plan.spacing,
            plan.normalizations,
            folder / "cases",
        )

    with request.team.first_goes_ahead():
        training = yield from prepared(split.training)
        selection = yield from prepared(split.selection)
    run = TrainingRun(
        folder,
        plan.network,
        recipe,
        device=request.device,
        precision=request.precision,
        facts=common_facts(dataset, plan, split),
        team=request.team,
    )
    if request.resume:
        run.resume()
    else:
        if request.team.is_first:
            clear_folder(folder)
            made.write(folder)
        run.begin_with(weights)
    run.say(_described(request, plan))
    augment = recipe_augmentation(
        recipe,
        plan.patch_size,
        dummy_2d=plan.anisotropic,
        normalizations=plan.normalizations,
    )
    trained = yield from run.train(
        training, selection, augment, workers=request.workers
    )
    if not request.team.is_first:
        request.team.wait()
        return _written(folder)
    run.say(f"trained; weights of epoch {trained.best_epoch} are kept")
    card = first_card(request, plan, split, trained)
    unseen = [by_name[name] for name in split.unseen]
    result = yield from _finish(run, trained.network, card, selection, unseen)
    request.team.wait()
    return result


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
    unseen: Sequence[Case],
) -> Job[TrainingResult]:
    """Calibrate, report, and give the model its name when its card is complete."""
    model = yield from calibrate_as_stored(network, card, run, selection)
    run.say(f"calibrated; reporting on {len(unseen)} unseen cases")
    report = yield from report_on_cases(
        model, unseen, device=run.device.type, html=run.folder / "report.html"
    )
    card = replace(model.card, metrics=card_metrics(report))
    write_json(run.folder / REPORT, report)
    card = save_model(model.network, card, run.folder / MODEL)
    run.say(f"wrote {MODEL}; unseen Dice {report['means']['dice']:.4f}")
    return TrainingResult(path=run.folder / MODEL, card=card, report=report)
