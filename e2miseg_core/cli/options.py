"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "CARD",
    "DATA",
    "PLAN",
    "RECIPE",
    "AsJson",
    "Device",
    "Model",
    "Precision",
    "Replay",
    "Seed",
    "Steps",
]

# Panels of `e2miseg train --help`; what is of the run itself stays in the first one.
DATA, PLAN, RECIPE, CARD = "Data", "Network and plan", "Recipe", "Model card"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines, for programs.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto, float32, bfloat16, float16.")
]
Model = Annotated[
    str,
    typer.Option("--model", help="A model's name (see `models list`) or its file."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", min=0, help="Random seed.")
]

# Of a fine-tuning.
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", metavar="N", min=1, help="Training steps of the fine-tuning."
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        "--replay",
        metavar="DATASET",
        help="Training set of the model, for it not to forget. Models trained on "
        "phantoms need none.",
    ),
]
