"""`e2miseg finetune`: learn from corrections or cases, keep what is better."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2miseg_core.cli.options import (
    AsJson,
    Device,
    Precision,
    Replay,
    Seed,
    Steps,
)
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import Cancelled, ConfigError

if TYPE_CHECKING:
    from e2miseg_core.training.dataset_tuning import DatasetTuningResult
    from e2miseg_core.training.finetune import FinetuneResult

__all__ = ["finetune"]


def finetune(  # noqa: PLR0913 - one parameter an option
    *,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            metavar="P",
            help="Annotation project, NAME.e2m: learn from its corrections.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="M", help="With --dataset: the model to begin with."
        ),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset",
            metavar="D",
            help="Data set of labelled cases, as for `train`, with the model's labels.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="RUN",
            help="Folder of the job; one in the project if left out.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="With --dataset; else a quarter of the model's."
        ),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option("--fold", help="With --dataset: which fifth stays unseen."),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option("--split", metavar="FILE", help="With --dataset: as for `train`."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="REGEX", help="With --dataset: as for `train`."
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups", metavar="FILE", help="With --dataset: as for `train`."
        ),
    ] = None,
    replay: Replay = None,
    steps: Steps = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate", help="The largest; with --dataset a tenth of before."
        ),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Precision = "auto",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with an interrupted job, as it was begun."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --dataset: over an older run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a project's model on corrections, or any model on labelled cases.

    With --project: a quarter of the corrections is held out; the new model becomes the
    project's only if it is better there, and nowhere worse. With --model and --dataset:
    trained as by `train`, from the model's weights; RUN/model.safetensors is written
    only if it is not worse than its parent on the unseen cases. Else the old one stays.
    Both end with exit code 0 and a sentence with figures.
    """
    of_dataset: dict[str, object] = {
        "--epochs": epochs,
        "--fold": fold,
        "--split": split,
        "--group": group,
        "--groups": groups,
        "--overwrite": overwrite or None,
    }
    if project is None:
        from e2miseg_core.training.splits import SplitRule

        _check_options(model, dataset, output, {"--steps": steps, "--replay": replay})
        with Output(as_json=as_json) as out:
            request = {
                "split_by": SplitRule(file=split, group=group, table=groups),
                "epochs": epochs,
                "learning_rate": learning_rate,
                "seed": seed,
                "fold": fold or 0,
                "device": device,
                "precision": precision,
                "resume": resume,
                "overwrite": overwrite,
            }
            _tune(out, str(model), Path(str(dataset)), Path(str(output)), request)
        return
    from e2miseg_core.progress import run
    from e2miseg_core.project import Project
    from e2miseg_core.training.finetune import FinetuneSettings, finetune_job

    given = {
        "steps": steps,
        "learning_rate": learning_rate,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    changed = {k: v for k, v in given.items() if v not in (None, "auto")}
    if dataset is not None:
        raise _not_one_way()
    _refuse(of_dataset, "--dataset")
    if model is not None:
        raise ConfigError(
            found="--model with --project",
            needed="the project's own model: what is learnt has to beat it",
            do="leave --model out, or make another project with that model",
        )
    if resume and (changed or replay is not None):
        raise ConfigError(
            found="--resume with other options of training",
            needed="the job as it was begun",
            do="leave them out, or start a new job without --resume",
        )
    settings = None if resume else FinetuneSettings.from_json(changed)
    with Output(as_json=as_json) as out:
        result = run(
            finetune_job(
                Project.open(project),
                settings,
                folder=output,
                resume=resume,
                replay=replay,
            ),
            out.progress,
        )
        out.result(_values(result), _sentence(result))


def _tune(
    out: Output,
    model: str,
    dataset: Path,
    folder: Path,
    given: dict[str, Any],
) -> None:
    """Fine-tune a model on a data set."""
    from e2miseg_core.model import load_model
    from e2miseg_core.progress import run
    from e2miseg_core.training.dataset import find_dataset
    from e2miseg_core.training.dataset_tuning import DatasetTuning, tune_on_dataset

    request = DatasetTuning(
        parent=load_model(model),
        dataset=find_dataset(dataset),
        folder=folder,
        **given,
    )
    try:
        result = run(tune_on_dataset(request), out.progress)
    except KeyboardInterrupt:
        kept = "the same command with --resume goes on after the last epoch"
        raise Cancelled(what="the fine-tuning", kept=kept) from None
    out.result(_tuned_values(result), _tuned_sentence(result))


def _check_options(
    model: str | None,
    dataset: Path | None,
    output: Path | None,
    of_project: dict[str, object],
) -> None:
    """Raise ConfigError where a fine-tuning on a data set lacks something."""
    if model is None or dataset is None:
        raise _not_one_way()
    if output is None:
        raise ConfigError(
            found="--dataset without a folder",
            needed="-o RUN",
            do="name a folder for the run",
        )
    _refuse(of_project, "--project")


def _refuse(options: dict[str, object], only_with: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(
            found=f"{', '.join(given)} without {only_with}",
            needed=f"options that do not need {only_with}",
            do=f"leave {', '.join(given)} out",
        )


def _not_one_way() -> ConfigError:
    return ConfigError(
        found="not exactly one thing to learn from",
        needed="either --project, or --model and --dataset",
        do="name the project, or a model and a data set",
    )


def _tuned_values(result: "DatasetTuningResult") -> dict[str, object]:
    return {
        "kept": result.kept,
        "sentence": result.sentence,
        "model": None if result.path is None else str(result.path),
        **result.figures,
    }


def _tuned_sentence(result: "DatasetTuningResult") -> str:
    if result.path is None:
        return f"{result.sentence}\nThe old model stays as it is."
    return f"{result.sentence}\nInstall it with: e2miseg models add {result.path}"


def _values(result: "FinetuneResult") -> dict[str, object]:
    return {
        "kept": result.kept,
        "sentence": result.sentence,
        "figures": dict(result.figures),
        "version": result.version,
        "job": str(result.folder),
    }


def _sentence(result: "FinetuneResult") -> str:
    if result.version is None:
        return f"{result.sentence}\nThe model in use stays."
    return f"{result.sentence}\nIn use from now on: version {result.version}."
