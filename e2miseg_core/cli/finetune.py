"""`e2miseg finetune`: learn from corrections, keep the new model if it is better."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from e2miseg_core.errors import ConfigError

if TYPE_CHECKING:
    from e2miseg_core.training.finetune import FinetuneResult

__all__ = ["finetune"]


def finetune(  # noqa: PLR0913 - one parameter an option
    *,
    project: Annotated[
        Path,
        typer.Option("--project", metavar="P", help="Annotation project, NAME.e2m."),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", hidden=True),
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
    replay: Replay = None,
    steps: Steps = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Of AdamW.")
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
    as_json: AsJson = False,
) -> None:
    """Fine-tune a project's model on what has been corrected.

    A quarter of the corrections is held out. The new model becomes the project's only
    if it is better there, and nowhere worse; else the old one stays. Both end with
    exit code 0 and a sentence with figures.
    """
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
