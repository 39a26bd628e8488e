"""Options that several commands share."""

from typing import Annotated

import typer

__all__ = ["AsJson", "Device", "Precision"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines, for programs.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto, float32, bfloat16, float16.")
]
