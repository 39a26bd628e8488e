"""`e2miseg train`: from labelled cases to a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2miseg_core.cli.options import AsJson, Device, Precision, Seed
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import ConfigError

if TYPE_CHECKING:
    from e2miseg_core.training.dataset import Dataset
    from e2miseg_core.training.train import TrainingResult

__all__ = ["train"]


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
    preset: Annotated[
        str, typer.Option("--preset", help="Network size, see `e2miseg networks`.")
    ] = "small",
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of images, with --labels.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Folder of labels, with --images.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="VALUE=NAME", help="Name of a label value; repeat."
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option("--channel", help="Name of the channel, such as CT or 'MR T1'."),
    ] = None,
    fold: Annotated[
        int, typer.Option("--fold", help="Which fifth stays unseen, 0 to 4.")
    ] = 0,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Epochs; the preset's if left out."),
    ] = None,
    ss: Annotated[
        str | None,
        typer.Option("--ss", help="Scale-sensitive loss: paper, relative or off."),
    ] = None,
    seed: Seed = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of the data, for the card.")
    ] = None,
    credit: Annotated[
        str | None, typer.Option("--credit", help="Whom to cite, for the card.")
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", help="What the model labels.")
    ] = None,
    intended_use: Annotated[
        str | None, typer.Option("--intended-use", help="For what, and its limits.")
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

    A fifth of the cases stays unseen and is reported on; an eighth of the rest
    chooses the best weights. An interrupted run goes on with --resume.
    """
    found = _find(dataset, images, labels, label, channel)
    from e2miseg_core.progress import run
    from e2miseg_core.training.recipe import preset_recipe
    from e2miseg_core.training.train import TrainingRequest, train_model

    about = {
        "name": name,
        "licence": licence,
        "credit": credit,
        "description": description,
        "intended_use": intended_use,
    }
    request = TrainingRequest(
        dataset=found,
        folder=output,
        preset=preset,
        recipe=preset_recipe(preset, epochs=epochs, ss_form=ss, seed=seed),
        fold=fold,
        device=device,
        precision=precision,
        resume=resume,
        overwrite=overwrite,
        about={key: value for key, value in about.items() if value is not None},
    )
    with Output(as_json=as_json) as out:
        result = run(train_model(request), out.progress)
        out.result(_values(result), _sentence(result))


def _find(
    dataset: Path | None,
    images: Path | None,
    labels: Path | None,
    named: list[str] | None,
    channel: str | None,
) -> "Dataset":
    from dataclasses import replace

    from e2miseg_core.training.dataset import find_dataset, pair_folders

    if (dataset is None) == (images is None) or (images is None) != (labels is None):
        raise ConfigError(
            found="not exactly one training set",
            needed="either DATASET, or both --images and --labels",
            do="name the data set folder, or both folders",
        )
    names = dict(_pair(text) for text in named or [])
    if images is not None and labels is not None:
        found = pair_folders(images, labels, label_names=names or None)
    elif dataset is not None:
        found = find_dataset(dataset, label_names=names or None)
    return found if channel is None else replace(found, channels=(channel,))


def _pair(text: str) -> tuple[int, str]:
    value, equals, name = text.partition("=")
    if not equals or not value.isdigit() or not name:
        raise ConfigError(
            found=f"--label {text}",
            needed="a value and a name, such as --label 1=liver",
            do="correct the option",
        )
    return int(value), name


def _values(result: "TrainingResult") -> dict[str, Any]:
    return {
        "model": str(result.path),
        "hash": result.card.hash,
        "means": result.report["means"],
        "error_map": result.report["error_map"],
    }


def _sentence(result: "TrainingResult") -> str:
    means, maps = result.report["means"], result.report["error_map"]
    n_cases = len(result.report["error_map_cases"])
    return (
        f"{result.path}: on {n_cases} unseen cases mean Dice {means['dice']:.3f}, "
        f"HD95 {means['hd95_mm']:.2f} mm, NSD (1 mm) {means['nsd']:.3f}. The error map "
        f"finds errors with an average precision of "
        f"{_number(maps['auprc_expected_error'])} "
        f"(entropy {_number(maps['auprc_entropy'])}, "
        f"chance {_number(maps['auprc_chance'])}).\n"
        f"Install it with: e2miseg models add {result.path}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
