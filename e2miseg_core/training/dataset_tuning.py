"""Fine-tune a model on a labelled data set; kept only if it is not worse there.

The new model has the network, labels, channels, spacing and normalisation of its
parent. It is trained by `train`'s loop, from the parent's weights and at a smaller
rate. Unlike a project's fine-tuning (`finetune`), which learns from a few corrected
places, it learns from whole cases.

RUN/cases, checkpoint.safetensors, history.csv ...   see `run_folder`
RUN/parent.json, report.json, report.html   figures of both on the unseen cases
RUN/result.json          the verdict
RUN/model.safetensors    the new model, if it is kept
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from e2miseg_core.errors import DatasetError
from e2miseg_core.io.atomic import write_json
from e2miseg_core.model import Model, save_model
from e2miseg_core.model_card import ModelCard
from e2miseg_core.progress import Job
from e2miseg_core.training.batches import recipe_augmentation
from e2miseg_core.training.calibrate import calibrate_as_stored
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.prepare import PreparedCase, prepare_cases
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.report import card_metrics, report_on_cases
from e2miseg_core.training.run import TrainedNetwork, TrainingRun
from e2miseg_core.training.run_folder import (
    CASES,
    MODEL,
    check_folder,
    clear_folder,
    has_epoch,
    working_in,
)
from e2miseg_core.training.splits import Split, SplitRule

__all__ = [
    "DatasetTuning",
    "DatasetTuningResult",
    "check_dataset",
    "tune_on_dataset",
    "tuning_recipe",
    "unseen_split",
]

RATE = 0.1  # of the parent's learning rate
EPOCHS = 0.25  # of the parent's
RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class DatasetTuning:
    """What to fine-tune, and on what.

    Attributes
    ----------
    parent : Model
    dataset : Dataset
        With the parent's labels and channels.
    folder : Path
        Of the run.
    epochs, learning_rate, seed : optional
        Else a quarter of the parent's epochs, a tenth of its rate, its seed.
    fold : int
        The unseen fifth, 0 to 4, or which split of a file.
    split_by : SplitRule
    device, precision : str
        See `e2miseg_core.devices`.
    resume, overwrite : bool
        Go on with the run in `folder`, or begin anew over it.
    """

    parent: Model
    dataset: Dataset
    folder: Path
    epochs: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    fold: int = 0
    split_by: SplitRule = field(default_factory=SplitRule)
    device: str = "auto"
    precision: str = "auto"
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class DatasetTuningResult:
    """How it ended: the model file if it was kept, a sentence, and the figures."""

    path: Path | None
    sentence: str
    figures: Mapping[str, Any]

    @property
    def kept(self) -> bool:
        """Whether the new model was kept."""
        return self.path is not None


@dataclass(frozen=True, kw_only=True)
class _Unseen:
    """The cases that both models are compared on."""

    cases: Sequence[Case]
    groups: Mapping[str, str]
    known: int  # that would be among them, but for the parent


def tune_on_dataset(request: DatasetTuning) -> Job[DatasetTuningResult]:
    """Train on from a model's weights, and keep the result if it is not worse.

    Both models predict the unseen cases as `predict` does; the new one is kept where
    its mean Dice is not below its parent's. The same cases so decide and are reported:
    of two equally good models the luckier one is kept. Cases of a data set of one name
    that the parent has learnt from are not unseen, see `unseen_split`.

    Raises
    ------
    DatasetError
        If the data set has other labels or channels than the model, or too few cases.
    WriteError
        If the folder holds a run and neither `resume` nor `overwrite` is set, or if
        another program is at work there.
    ConfigError
        If a setting is wrong, or a resumed run was begun with others.
    """
    folder = request.folder
    check_folder(folder, resume=request.resume, overwrite=request.overwrite)
    dataset = check_dataset(request.dataset, request.parent.card)
    split, known = unseen_split(request, [case.name for case in dataset.cases])
    recipe = tuning_recipe(request.parent.card, request)
    folder.mkdir(parents=True, exist_ok=True)
    with working_in(folder):
        return (yield from _tune(request, dataset, recipe, split, known))


def _tune(
    request: DatasetTuning, dataset: Dataset, recipe: Recipe, split: Split, known: int
) -> Job[DatasetTuningResult]:
    folder, by_name = request.folder, {case.name: case for case in dataset.cases}
    goes_on = request.resume and (has_epoch(folder) or not (folder / CASES).is_dir())
    run = _begin(request, recipe, split, goes_on=goes_on)
    if known:
        run.say(f"{known} unseen cases were known to the model and are trained on")
    card = request.parent.card

    def prepared(names: Sequence[str]) -> Job[list[PreparedCase]]:
        return prepare_cases(
            [by_name[name] for name in names],
            dataset,
            card.spacing,
            card.normalizations,
            folder / CASES,
        )

    training = yield from prepared(split.training)
    selection = yield from prepared(split.selection)
    if not goes_on:
        clear_folder(folder)
        run.network.load_state_dict(request.parent.network.state_dict())
        run.begin_with(None)  # a moving average begins with them, too
    augment = recipe_augmentation(
        recipe,
        card.patch_size,
        dummy_2d=_plan(card).get("anisotropic", False),
        normalizations=card.normalizations,
    )
    trained = yield from run.train(training, selection, augment)
    new = _new_card(request, recipe, split, trained)
    unseen = _Unseen(
        cases=[by_name[name] for name in split.unseen], groups=split.groups, known=known
    )
    return (yield from _finish(request, run, trained, new, selection, unseen))


def check_dataset(dataset: Dataset, card: ModelCard) -> Dataset:
    """The data set with the model's names; DatasetError where it does not fit."""
    given, own = ({v.value: v.name for v in x.labels} for x in (dataset, card))
    if set(given) != set(own) or any(
        _is_stated(given[value]) and given[value].casefold() != own[value].casefold()
        for value in own
    ):
        raise DatasetError(
            found=f"the labels {_told(given)} in {dataset.name}",
            needed=f"those of the model {card.name}: {_told(own)}",
            do="correct the values or names (dataset.json), or train a new model",
        )
    same = sorted(dataset.channels) == sorted(card.channels)
    if len(dataset.channels) != len(card.channels) or (
        same and dataset.channels != card.channels
    ):
        raise DatasetError(
            found=f"the channels {', '.join(dataset.channels)} in {dataset.name}",
            needed=f"those of the model, in its order: {', '.join(card.channels)}",
            do="arrange the channels so, or train a new model",
        )
    return replace(dataset, labels=card.labels, channels=card.channels)


def unseen_split(request: DatasetTuning, names: Sequence[str]) -> tuple[Split, int]:
    """The split of a data set, without unseen cases that the parent has learnt from.

    Those are told by the data set's name, and theirs; a copy by another name is taken
    for another set.

    Returns
    -------
    Split
    int
        Cases that would be unseen, but for the parent.

    Raises
    ------
    DatasetError
        If there is no unseen case that it has not learnt from.
    """
    split = request.split_by.split(names, fold=request.fold)
    earlier = [
        entry
        for entry in _learnt_before(request.parent.card)
        if entry.get("dataset") == request.dataset.name
    ]
    groups = {k: v for entry in earlier for k, v in entry.get("groups", {}).items()}
    split = replace(split, groups={**groups, **split.groups})
    found = split.after(
        [
            name
            for entry in earlier
            for part in ("training", "selection")
            for name in entry.get(part, ())
        ]
    )
    if not found.unseen:
        raise DatasetError(
            found=f"fold {request.fold}, of which the model has learnt from every "
            "unseen case",
            needed="a case that it has not seen, to compare both models on",
            do=f"take --fold {earlier[-1].get('fold', 0)} and the groups, as when it "
            "learnt, or name unseen cases by --split",
        )
    return found, len(split.unseen) - len(found.unseen)


def _learnt_before(card: ModelCard) -> list[Mapping[str, Any]]:
    """What a model was trained on first, and tuned on since."""
    return [card.training, *card.training.get("dataset_tunings", ())]


def tuning_recipe(card: ModelCard, request: DatasetTuning) -> Recipe:
    """The parent's recipe, shorter and gentler; it never begins anew."""
    stored = card.training.get("recipe")
    recipe = preset_recipe("small") if stored is None else Recipe.from_json(stored)
    epochs, rate, seed = request.epochs, request.learning_rate, request.seed
    return replace(
        recipe,
        epochs=max(1, round(EPOCHS * recipe.epochs)) if epochs is None else epochs,
        learning_rate=RATE * recipe.learning_rate if rate is None else rate,
        seed=recipe.seed if seed is None else seed,
        rescue_after=0.0,
    )


def _is_stated(name: str) -> bool:
    """Whether a label's name says more than its value, as scanned ones do not."""
    return not name.startswith("label ")


def _told(labels: Mapping[int, str]) -> str:
    return ", ".join(f"{value} {name}" for value, name in sorted(labels.items()))


def _plan(card: ModelCard) -> Mapping[str, Any]:
    """What the parent's training was planned as; nothing is told of old ones."""
    plan: Mapping[str, Any] = card.training.get("plan", {})
    return plan


def _begin(
    request: DatasetTuning, recipe: Recipe, split: Split, *, goes_on: bool
) -> TrainingRun:
    run = TrainingRun(
        request.folder,
        request.parent.network.config,
        recipe,
        device=request.device,
        precision=request.precision,
        facts={"parent": request.parent.card.hash, "split": split.parts},
    )
    if goes_on:
        run.resume()
    return run


def _new_card(
    request: DatasetTuning, recipe: Recipe, split: Split, trained: TrainedNetwork
) -> ModelCard:
    """The parent's card, of the new weights; the parent's figures are not its own."""
    old = request.parent.card
    learnt = {
        "dataset": request.dataset.name,
        "fold": request.fold,
        "recipe": recipe.to_json(),
        "precision": trained.precision,
        "best_epoch": trained.best_epoch,
        "selection_dice": trained.selection_dice,
        "minutes": round(trained.seconds / 60, 1),
        **split.to_json(),
    }
    return replace(
        old,
        name=f"{old.name} on {request.dataset.name}",
        parent=old.hash,
        training={
            **old.training,
            "dataset_tunings": [*old.training.get("dataset_tunings", ()), learnt],
        },
        calibration={},
        metrics={},
    )


def _finish(
    request: DatasetTuning,
    run: TrainingRun,
    trained: TrainedNetwork,
    card: ModelCard,
    selection: Sequence[PreparedCase],
    unseen: _Unseen,
) -> Job[DatasetTuningResult]:
    """Calibrate, examine both models, and keep the new one or not."""
    folder = run.folder
    model = yield from calibrate_as_stored(trained.network, card, run, selection)
    device, reports = run.device.type, []
    for one, name in ((request.parent, "parent"), (model, "report")):
        page = folder / "report.html" if name == "report" else None
        report = yield from report_on_cases(
            one, unseen.cases, groups=unseen.groups, device=device, html=page
        )
        write_json(folder / f"{name}.json", report)
        reports.append(report)
    before, after = (float(report["means"]["dice"]) for report in reports)
    kept = after >= before and after > 0
    path = folder / MODEL
    path.unlink(missing_ok=True)  # of a run before: it is not this one's
    if kept:
        card = replace(model.card, metrics=card_metrics(reports[1]))
        save_model(model.network, card, path)
    n_cases = len(unseen.cases)
    figures = {"cases": n_cases, "dice_before": before, "dice_after": after}
    figures["known_cases"] = unseen.known
    sentence = _sentence(n_cases, before, after, kept=kept)
    if unseen.known:
        sentence += f" The model knew {unseen.known} more from before: trained on."
    write_json(folder / RESULT, {"kept": kept, "sentence": sentence, **figures})
    return DatasetTuningResult(
        path=path if kept else None, sentence=sentence, figures=figures
    )


def _sentence(n_cases: int, before: float, after: float, *, kept: bool) -> str:
    figures = f"mean Dice on {n_cases} unseen cases {before:.3f} -> {after:.3f}"
    if kept:
        return f"Kept: {figures}."
    why = "it is worse than its parent" if after > 0 else "it finds nothing"
    return f"Not kept, since {why}: {figures}."
