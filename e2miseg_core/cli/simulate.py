"""`e2miseg simulate`: a robot annotates labelled cases, and its work is measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2miseg_core.cli.options import (
    AsJson,
    Device,
    Model,
    Precision,
    Replay,
    Seed,
    Steps,
)
from e2miseg_core.cli.output import Output
from e2miseg_core.errors import ConfigError

if TYPE_CHECKING:
    from e2miseg_core.simulation import StudySettings

__all__ = ["simulate"]


def simulate(  # noqa: PLR0913 - one parameter an option
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="Labelled cases, in the layouts that `e2miseg train` takes.",
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Gets report.json, report.md, and a project with the predicted cases, "
            "in which those are corrected that a fine-tuning learned from.",
        ),
    ],
    model: Model,
    cases: Annotated[
        int | None,
        typer.Option(
            "--cases",
            min=1,
            metavar="N",
            help="The first so many cases. Without it all are taken; of the model's "
            "own data set, only those that it has not seen.",
        ),
    ] = None,
    regions: Annotated[
        str,
        typer.Option(
            "--regions", help="After how many corrected regions a case to measure."
        ),
    ] = "0,5,10",
    guide: Annotated[
        list[str] | None,
        typer.Option(
            "--guide",
            help="Who says where to look: error-map, entropy or random; repeat. All "
            "of them if left out.",
        ),
    ] = None,
    finetune: Annotated[
        int | None,
        typer.Option(
            "--finetune",
            min=0,
            metavar="N",
            help="Fine-tune on so many corrected cases, and predict the others again; "
            "0 leaves it out. 3 if left out.",
        ),
    ] = None,
    steps: Steps = None,
    replay: Replay = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """Let a robot that knows the truth annotate, and measure what it brings.

    The Dice of each case after 0, 5 and 10 corrected regions, chosen by the error
    map, by entropy and at random. Then a fine-tuning on a few corrected cases, and
    the Dice of the others before and after.
    """
    from e2miseg_core.progress import run
    from e2miseg_core.simulation import (
        simulate_job,
        study_to_json,
        study_to_markdown,
        write_study,
    )
    from e2miseg_core.training.dataset import find_dataset

    values = {
        "regions": _counts(regions),
        "guides": tuple(guide) if guide else None,
        "finetune": finetune,
        "steps": steps,
        "seed": seed,
    }
    settings = _settings(values, device, precision)
    with Output(as_json=as_json) as out:
        job = simulate_job(
            find_dataset(dataset),
            model,
            output,
            settings,
            n_cases=cases,
            replay=replay,
        )
        study = run(job, out.progress)
        report, tables = write_study(study, output)
        shown = f"{study_to_markdown(study)}\nWritten: {report}, {tables}"
        out.result({**study_to_json(study), "report": str(report)}, shown)


def _settings(values: dict[str, Any], device: str, precision: str) -> "StudySettings":
    """What was given; the rest as usual."""
    from e2miseg_core.simulation import StudySettings

    given = {name: value for name, value in values.items() if value is not None}
    return StudySettings(device=device, precision=precision, **given)


def _counts(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise ConfigError(
            found=f"--regions {text}",
            needed="whole numbers with commas between, such as 0,5,10",
            do="correct the option",
        )
    return tuple(int(part) for part in parts)
