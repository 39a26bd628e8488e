"""`e2miseg train`: from labelled cases to a model."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2miseg_core.cli.data_options import (
    Channels,
    Fold,
    Group,
    Groups,
    Images,
    LabelNames,
    Labels,
    OnlyLabel,
    Split,
    find_data,
)
from e2miseg_core.cli.network_options import (
    Faithful,
    NetworkSettings,
    network_changes,
)
from e2miseg_core.cli.options import CARD, PLAN, AsJson, Device, Precision, Seed
from e2miseg_core.cli.output import Output
from e2miseg_core.cli.plan import show_plan, show_progress
from e2miseg_core.cli.plan_options import (
    BatchSize,
    Dummy2D,
    Normalizations,
    Patch,
    PlanOnly,
    SliceAxis,
    Spacing,
    StemStride,
    plan_overrides,
)
from e2miseg_core.cli.recipe import (
    Epochs,
    Iterations,
    LearningRate,
    OptimizerName,
    Schedule,
    Settings,
    SsForm,
    WarmUp,
    WeightAverage,
    WeightDecay,
    Workers,
    change_recipe,
)
from e2miseg_core.errors import Cancelled

if TYPE_CHECKING:
    from e2miseg_core.training.train import TrainingResult

__all__ = ["train"]

KEPT = "the same command with --resume goes on after the last epoch"


def train(  # noqa: PLR0913 - one parameter an option
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATASET",
            help="Folder in the layout of the Medical Segmentation Decathlon or "
            "nnU-Net (imagesTr, labelsTr, dataset.json), or with images and labels.",
        ),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="RUN", help="Folder of the run.")
    ],
    images: Images = None,
    labels: Labels = None,
    label: LabelNames = None,
    only_label: OnlyLabel = None,
    channel: Channels = None,
    fold: Fold = 0,
    split: Split = None,
    group: Group = None,
    groups: Groups = None,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            help="Network size, see `e2miseg networks`.",
            rich_help_panel=PLAN,
        ),
    ] = "small",
    faithful: Faithful = False,
    network: NetworkSettings = None,
    epochs: Epochs = None,
    iterations: Iterations = None,
    learning_rate: LearningRate = None,
    weight_decay: WeightDecay = None,
    optimizer: OptimizerName = None,
    schedule: Schedule = None,
    warm_up: WarmUp = None,
    weight_average: WeightAverage = None,
    ss: SsForm = None,
    settings: Settings = None,
    workers: Workers = None,
    seed: Seed = None,
    spacing: Spacing = None,
    patch: Patch = None,
    batch_size: BatchSize = None,
    normalization: Normalizations = None,
    stem: StemStride = None,
    slice_axis: SliceAxis = None,
    dummy_2d: Dummy2D = None,
    plan_only: PlanOnly = False,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the model.", rich_help_panel=CARD),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", help="Licence of the data, for the card.", rich_help_panel=CARD
        ),
    ] = None,
    credit: Annotated[
        str | None,
        typer.Option(
            "--credit", help="Whom to cite, for the card.", rich_help_panel=CARD
        ),
    ] = None,
    description: Annotated[
        str | None,
        typer.Option(
            "--description", help="What the model labels.", rich_help_panel=CARD
        ),
    ] = None,
    intended_use: Annotated[
        str | None,
        typer.Option(
            "--intended-use", help="For what, and its limits.", rich_help_panel=CARD
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew over an older run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a network on labelled cases and write a model with its figures.

    What the data decide (spacing, normalisation, patch, batch) is shown with reasons
    before training, and every choice can be made by an option instead. A fifth of the
    cases stays unseen and is reported on; an eighth of the rest chooses the best
    weights. An interrupted run goes on with --resume.
    """
    found = find_data(dataset, images, labels, label, channel)
    found = found if only_label is None else found.only(only_label)
    overrides = plan_overrides(
        spacing=spacing,
        patch=patch,
        batch_size=batch_size,
        normalization=normalization,
        stem=stem,
        slice_axis=slice_axis,
        dummy_2d=dummy_2d,
    )
    from e2miseg_core.devices import choose_device, choose_precision
    from e2miseg_core.progress import run
    from e2miseg_core.training.distributed import joined_team, own_device
    from e2miseg_core.training.recipes import preset_recipe
    from e2miseg_core.training.splits import SplitRule
    from e2miseg_core.training.train import (
        TrainingRequest,
        plan_training_of,
        train_model,
    )

    about = {
        "name": name,
        "licence": licence,
        "credit": credit,
        "description": description,
        "intended_use": intended_use,
    }
    numbers = {
        "epochs": epochs,
        "iterations": iterations,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "optimizer": optimizer,
        "schedule": schedule,
        "warm_up": warm_up,
        "weight_average": weight_average,
        "ss_form": ss,
        "seed": seed,
    }
    device = own_device(device)
    choose_precision(precision, choose_device(device))  # refused before any work
    request = TrainingRequest(
        dataset=found,
        folder=output,
        preset=preset,
        recipe=change_recipe(preset_recipe(preset), numbers, settings),
        fold=fold,
        split_by=SplitRule(file=split, group=group, table=groups),
        device=device,
        precision=precision,
        resume=resume,
        overwrite=overwrite,
        overrides=overrides,
        network=network_changes(preset, network, faithful=faithful),
        workers=workers,
        about={key: value for key, value in about.items() if value is not None},
    )
    if plan_only:
        with Output(as_json=as_json) as out:
            plan = run(plan_training_of(request), out.progress)
            out.result({"plan": plan.to_json(), "split": request.split.parts})
            show_plan(out, plan, request)
        return
    with (
        joined_team(choose_device(device)) as team,
        Output(as_json=as_json, quiet=not team.is_first) as out,
    ):
        job = train_model(replace(request, team=team))
        try:
            result = run(job, partial(show_progress, out, request))
        except KeyboardInterrupt:
            raise Cancelled(what="the training", kept=KEPT) from None
        out.result(_values(result), _sentence(result))


def _values(result: "TrainingResult") -> dict[str, Any]:
    return {
        "model": str(result.path),
        "hash": result.card.hash,
        "samples_per_second": result.card.training["samples_per_second"],
        "means": result.report["means"],
        "error_map": result.report["error_map"],
    }


def _sentence(result: "TrainingResult") -> str:
    from e2miseg_core.models import name_to_install

    means, maps = result.report["means"], result.report["error_map"]
    n_cases = len(result.report["error_map_cases"])
    if not means["dice"] > 0:  # or no number
        return (
            f"{result.path}: it finds nothing in {n_cases} unseen cases. "
            "Train longer (--epochs), and see curves.svg and the plan for the reason."
        )
    return (
        f"{result.path}: on {n_cases} unseen cases mean Dice {means['dice']:.3f}, "
        f"HD95 {means['hd95_mm']:.2f} mm, NSD (1 mm) {means['nsd']:.3f}. The error map "
        f"finds errors with an average precision of "
        f"{_number(maps['auprc_expected_error'])} "
        f"(entropy {_number(maps['auprc_entropy'])}, "
        f"chance {_number(maps['auprc_chance'])}).\n"
        f"Install it as {name_to_install(result.path, result.card)!r} with: "
        f"e2miseg models add {result.path}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
