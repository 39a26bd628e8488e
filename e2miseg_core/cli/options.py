"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Device", "Model", "Precision", "Replay", "Seed", "Steps"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines, for programs.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto, float32, bfloat16, float16.")
]
Model = Annotated[
    str,
    typer.Option("--model", help="A model's name (see `models list`) or its file."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed.")]

# Of a fine-tuning.
Steps = Annotated[
    int | None,
    typer.Option("--steps", min=1, help="Training steps of the fine-tuning."),
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
