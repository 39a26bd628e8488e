"""From a data set to a model file with its card: the whole of `e2miseg train`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.atomic import write_json
from e2miseg_core.model import Model, load_model, save_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import Network, NetworkConfig, network_to_json, preset_config
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.dataset import Case, Dataset, Split, split_cases
from e2miseg_core.training.plan import TrainingPlan, plan_training
from e2miseg_core.training.prepare import PreparedCase, prepare_case
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.report import (
    card_metrics,
    report_on_cases,
)
from e2miseg_core.training.run import (
    MODEL,
    TrainedNetwork,
    TrainingRun,
    check_folder,
    clear_folder,
)
from e2miseg_core.training.validation import case_probabilities
from e2miseg_core.uncertainty.calibration import fit_temperature

__all__ = ["TrainingRequest", "TrainingResult", "train_model"]

CALIBRATION_VOXELS = 500_000  # of a case, at most
SAME_LABELS = 0.999  # share of voxels on which two precisions must agree


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
        The unseen fifth, 0 to 4.
    device, precision : str
        See `e2miseg_core.devices`.
    resume, overwrite : bool
        Go on with the run in `folder`, or begin anew over it.
    about : mapping
        Fields of the card: name, description, intended_use, licence, credit.
    """

    dataset: Dataset
    folder: Path
    preset: str
    recipe: Recipe
    fold: int = 0
    device: str = "auto"
    precision: str = "auto"
    resume: bool = False
    overwrite: bool = False
    about: dict[str, str] = field(default_factory=dict)


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
    split = split_cases([case.name for case in dataset.cases], fold=request.fold)
    by_name = {case.name: case for case in dataset.cases}
    plan = yield from plan_training(dataset, [by_name[n] for n in split.training])
    config = preset_config(
        request.preset,
        in_channels=len(dataset.channels),
        n_classes=len(dataset.labels) + 1,
    )
    training = yield from _prepare(request, plan, by_name, split.training)
    selection = yield from _prepare(request, plan, by_name, split.selection)
    run = TrainingRun(
        folder,
        config,
        request.recipe,
        device=request.device,
        precision=request.precision,
        facts=_facts(dataset, plan, split),
    )
    if request.resume:
        run.resume()
    else:
        clear_folder(folder)
    trained = yield from run.train(training, selection)
    card = _first_card(request, config, plan, split, trained)
    unseen = [by_name[name] for name in split.unseen]
    return (yield from _finish(run, trained.network, card, selection, unseen))


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
        card = yield from _calibrate(model, run, selection)
        model = Model(network=model.network, card=card)
        report = yield from report_on_cases(model, unseen, device=run.device.type)
    finally:
        unfinished.unlink(missing_ok=True)
    card = replace(card, metrics=card_metrics(report))
    write_json(run.folder / "report.json", report)
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
        prepared.append(
            prepare_case(
                by_name[name],
                request.dataset,
                plan.spacing,
                plan.normalizations,
                request.folder / "cases",
            )
        )
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
            "recipe": recipe.to_json(),
            "mirror_axes": list(recipe.mirror_axes),
            "precision": trained.precision,
            "best_epoch": trained.best_epoch,
            "selection_dice": trained.selection_dice,
            "minutes": round(trained.seconds / 60, 1),
            "training": list(split.training),
            "selection": list(split.selection),
            "unseen": list(split.unseen),
        },
        **about,
    )


def _calibrate(
    model: Model, run: TrainingRun, selection: Sequence[PreparedCase]
) -> Job[ModelCard]:
    """Fit the temperature and check the precision on the selection cases."""
    network = model.network.to(run.device)
    pairs = []
    same, total = 0, 0
    precisions = dict.fromkeys(("float32", run.precision))
    for number, case in enumerate(selection, start=1):
        yield Progress(done=number, total=len(selection), stage="calibrating")
        by_precision = [
            case_probabilities(network, run.config, case, run.device, precision)
            for precision in precisions
        ]
        first, last = (p.argmax(axis=0) for p in (by_precision[0], by_precision[-1]))
        same, total = same + int((first == last).sum()), total + first.size
        pairs.append(_sampled(by_precision[-1], case.classes))
    agreed = same / total >= SAME_LABELS
    return replace(
        model.card,
        precisions=tuple(precisions) if agreed else ("float32",),
        calibration={
            "temperature": round(fit_temperature(pairs), 4),
            "cases": len(pairs),
            "labels_equal_to_float32": round(same / total, 6),
        },
    )


def _sampled(
    probabilities: NDArray[np.float32], classes: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Every n-th voxel of a case: enough for one number, at bounded memory."""
    step = 1 + classes.size // CALIBRATION_VOXELS
    flat = probabilities.reshape(probabilities.shape[0], -1)
    return flat[:, ::step].copy(), classes.reshape(-1)[::step].copy()
