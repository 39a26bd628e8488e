"""From a data set to a model file with its card: the whole of `e2miseg train`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from e2miseg_core.io.atomic import write_json
from e2miseg_core.model import Model, load_model, save_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import (
    PRESETS,
    E2MISegConfig,
    EHANetConfig,
    Network,
    NetworkConfig,
    network_to_json,
    preset_config,
)
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.augment import Augmentation
from e2miseg_core.training.batches import recipe_augmentation
from e2miseg_core.training.calibrate import calibrate_on
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.distributed import ALONE, Team
from e2miseg_core.training.plan import PlanOverrides, TrainingPlan
from e2miseg_core.training.prepare import PreparedCase, prepare_case
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.report import (
    card_metrics,
    report_on_cases,
)
from e2miseg_core.training.run import TrainedNetwork, TrainingRun
from e2miseg_core.training.run_folder import MODEL, check_folder, clear_folder
from e2miseg_core.training.splits import Split, SplitRule
from e2miseg_core.training.start import find_first_weights
from e2miseg_core.training.stored_plan import RunPlan, plan_of_run, resumed_plan

__all__ = ["TrainingRequest", "TrainingResult", "plan_training_of", "train_model"]

REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What to train, on what, and what to say about it.

    Attributes
    ----------
    dataset : Dataset
    folder : Path
        Of the run.
    preset : str
        Network preset.
    recipe : Recipe
    fold : int
        The unseen fifth, 0 to 4, or which split of a file.
    split_by : SplitRule
        Patients that stay together, or a file that says how to split.
    device, precision : str
        See `e2miseg_core.devices`.
    resume, overwrite : bool
        Go on with the run in `folder`, or begin anew over it.
    overrides : PlanOverrides
        What is not left to planning.
    network : mapping
        Fields of the preset's network that are to be otherwise.
    team : Team
        Processes that train together.
    workers : int, optional
        Batches made at a time.
    about : mapping
        Fields of the card: name, description, intended_use, licence, credit.
    """

    dataset: Dataset
    folder: Path
    preset: str
    recipe: Recipe
    fold: int = 0
    split_by: SplitRule = field(default_factory=SplitRule)
    device: str = "auto"
    precision: str = "auto"
    resume: bool = False
    overwrite: bool = False
    overrides: PlanOverrides = field(default_factory=PlanOverrides)
    network: Mapping[str, Any] = field(default_factory=dict)
    team: Team = ALONE
    workers: int | None = None
    about: dict[str, str] = field(default_factory=dict)

    @property
    def split(self) -> Split:
        """What each case is used for."""
        names = [case.name for case in self.dataset.cases]
        return self.split_by.split(names, fold=self.fold)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The model file, its card, and the figures on the unseen cases."""

    path: Path
    card: ModelCard
    report: dict[str, Any]


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
    with request.team.first_goes_ahead():
        made, weights = yield from _begin(request, split)
    plan, config = made.plan, made.plan.network
    yield Progress(done=1, total=1, stage="planned", details={"plan": plan.to_json()})
    recipe = _planned(request.recipe, plan)
    request = replace(request, recipe=recipe)
    with request.team.first_goes_ahead():
        training = yield from _prepare(request, plan, by_name, split.training)
        selection = yield from _prepare(request, plan, by_name, split.selection)
    run = TrainingRun(
        folder,
        config,
        recipe,
        device=request.device,
        precision=request.precision,
        facts=_facts(dataset, plan, split),
        team=request.team,
    )
    if request.resume:
        run.resume()
    else:
        if request.team.is_first:
            clear_folder(folder)
            made.write(folder)
        run.begin_with(weights)
    trained = yield from run.train(
        training, selection, _augmentation(plan, recipe), workers=request.workers
    )
    if not request.team.is_first:
        request.team.wait()
        return _written(folder)
    card = _first_card(request, config, plan, split, trained)
    unseen = [by_name[name] for name in split.unseen]
    result = yield from _finish(run, trained.network, card, selection, unseen)
    request.team.wait()
    return result


def _written(folder: Path) -> TrainingResult:
    """What the first process of a team has made."""
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    card = load_model(folder / MODEL).card
    return TrainingResult(path=folder / MODEL, card=card, report=report)


def _begin(request: TrainingRequest, split: Split) -> Job[tuple[RunPlan, Path | None]]:
    """The plan, and the weights that a new run begins with."""
    made = yield from _plan(request, split)
    if request.resume:
        return made, None
    plan, weights = yield from find_first_weights(made.plan)
    return replace(made, plan=plan), weights


def plan_training_of(request: TrainingRequest) -> Job[TrainingPlan]:
    """Plan as `train_model` would, put the plan into the run's folder, train nothing.

    With `resume` it is the plan that the run was begun with.
    """
    check_folder(request.folder, resume=request.resume, overwrite=False)
    made = yield from _plan(request, request.split)
    if not request.resume:
        request.folder.mkdir(parents=True, exist_ok=True)
        made.write(request.folder)
    return made.plan


def _plan(request: TrainingRequest, split: Split) -> Job[RunPlan]:
    """The plan of a new run, or the one that a resumed run was begun with."""
    dataset = request.dataset
    base = preset_config(
        request.preset,
        in_channels=len(dataset.channels),
        n_classes=len(dataset.labels) + 1,
        **request.network,
    )
    if request.resume:
        return resumed_plan(request.folder, base, request.overrides)
    volumes = isinstance(base, E2MISegConfig)
    training = set(split.training)
    return (
        yield from plan_of_run(
            request.folder,
            dataset,
            tuple(case for case in dataset.cases if case.name in training),
            base,
            request.overrides,
            batch_size=request.recipe.batch_size,
            # Slices are planned: their published size is that of the pictures.
            keep_patch=volumes and PRESETS[request.preset].published is not None,
        )
    )


def _planned(recipe: Recipe, plan: TrainingPlan) -> Recipe:
    """The recipe with what the plan decides."""
    recipe = replace(recipe, batch_size=plan.batch_size)
    if isinstance(plan.network, EHANetConfig):  # mirrored in the plane of its slices
        axes = tuple(a for a in recipe.mirror_axes if a != plan.network.axis)
        recipe = replace(recipe, mirror_axes=axes)
    return recipe


def _augmentation(plan: TrainingPlan, recipe: Recipe) -> Augmentation:
    return recipe_augmentation(
        recipe,
        plan.patch_size,
        dummy_2d=plan.anisotropic,
        zero_outside=[rule.nonzero for rule in plan.normalizations],
    )


def _finish(
    run: TrainingRun,
    network: Network,
    card: ModelCard,
    selection: Sequence[PreparedCase],
    unseen: Sequence[Case],
) -> Job[TrainingResult]:
    """Calibrate, report, and give the model its name when its card is complete."""
    unfinished = run.folder / ".unfinished.safetensors"
    try:
        save_model(network, card, unfinished)
        # From here on with the weights as stored: what is reported is what is shipped.
        model = load_model(unfinished)
        card = yield from calibrate_on(model, run, selection)
        model = Model(network=model.network, card=card)
        report = yield from report_on_cases(
            model, unseen, device=run.device.type, html=run.folder / "report.html"
        )
    finally:
        unfinished.unlink(missing_ok=True)
    card = replace(card, metrics=card_metrics(report))
    write_json(run.folder / REPORT, report)
    card = save_model(model.network, card, run.folder / MODEL)
    return TrainingResult(path=run.folder / MODEL, card=card, report=report)


def _facts(dataset: Dataset, plan: TrainingPlan, split: Split) -> dict[str, Any]:
    """What a resumed run must have in common with its beginning."""
    return {
        "split": asdict(split),
        "labels": [label.value for label in dataset.labels],
        "channels": list(dataset.channels),
        "spacing": list(plan.spacing),
        "normalizations": [rule.to_json() for rule in plan.normalizations],
        "anisotropic": plan.anisotropic,
    }


def _prepare(
    request: TrainingRequest,
    plan: TrainingPlan,
    by_name: dict[str, Case],
    names: Sequence[str],
) -> Job[list[PreparedCase]]:
    prepared = []
    for number, name in enumerate(names, start=1):
        yield Progress(done=number, total=len(names), stage="preparing cases")
        case = yield from prepare_case(
            by_name[name],
            request.dataset,
            plan.spacing,
            plan.normalizations,
            request.folder / "cases",
        )
        prepared.append(case)
    return prepared


def _first_card(
    request: TrainingRequest,
    config: NetworkConfig,
    plan: TrainingPlan,
    split: Split,
    trained: TrainedNetwork,
) -> ModelCard:
    """The card before calibration and figures."""
    dataset, recipe = request.dataset, request.recipe
    about: dict[str, Any] = {"name": dataset.name, "licence": dataset.licence}
    about |= request.about
    return ModelCard(
        labels=dataset.labels,
        channels=dataset.channels,
        normalizations=plan.normalizations,
        spacing=plan.spacing,
        patch_size=config.patch_size,
        network=network_to_json(config),
        training={
            "dataset": dataset.name,
            "preset": request.preset,
            "fold": request.fold,
            "plan": plan.to_json(),
            "recipe": recipe.to_json(),
            "mirror_axes": list(recipe.mirrored_axes),
            "precision": trained.precision,
            "best_epoch": trained.best_epoch,
            "averaged_weights": trained.averaged,
            "samples_per_second": round(trained.samples_per_second, 3),
            "skipped_batches": trained.skipped,
            "selection_dice": trained.selection_dice,
            "minutes": round(trained.seconds / 60, 1),
            "training": list(split.training),
            "selection": list(split.selection),
            "unseen": list(split.unseen),
        },
        **about,
    )
