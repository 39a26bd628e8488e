"""`e2miseg doctor`: what works on this computer, and how to mend what does not."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from e2miseg_core.doctor import Check, checks, works

__all__ = ["doctor"]

MARKS = {True: ("ok", "green"), None: ("note", "yellow"), False: ("BAD", "bold red")}


def doctor(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line, for programs.")
    ] = False,
) -> None:
    """Tell what works on this computer, and how to mend what does not.

    Looks at Python, the packages, memory, disk, the processor and graphics cards,
    the installed models and the napari window. Exit code 0: prediction works here.
    """
    console = Console()
    if not console.is_terminal:
        console.width = 200  # characters; in a file or a report, commands stay whole
    if as_json or not console.is_terminal:
        found = checks()
    else:
        with console.status("Looking at this computer"):
            found = checks()
    if as_json:
        event = {
            "event": "result",
            "ok": works(found),
            "checks": [check.to_json() for check in found],
        }
        print(json.dumps(event), flush=True)
    else:
        _show(console, found)
    if not works(found):
        raise typer.Exit(2)


def _show(console: Console, found: list[Check]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        word, style = MARKS[check.ok]
        told = Text(check.found)
        if check.do:
            told.append(f"\n{check.do}", style="italic")
        table.add_row(Text(word, style=style), check.name, told)
    console.print(table)
    if works(found):
        console.print("Prediction works on this computer.")
    else:
        console.print("Prediction does not work yet: mend what is marked BAD.")
