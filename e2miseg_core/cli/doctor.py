"""`e2miseg doctor`: what works on this computer, and how to mend what does not."""

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from e2miseg_core.cli.options import AsJson
from e2miseg_core.cli.output import Output
from e2miseg_core.doctor import Check, checks, works
from e2miseg_core.io.cache.keeping import clear

__all__ = ["doctor"]

MARKS = {True: ("ok", "green"), None: ("note", "yellow"), False: ("BAD", "bold red")}


ClearCache = Annotated[
    bool,
    typer.Option(
        "--clear-cache",
        help="Only remove the copies of images in the cache that no running program "
        "uses; they are made again when they are needed.",
    ),
]


def doctor(
    *,
    clear_cache: ClearCache = False,
    as_json: AsJson = False,
) -> None:
    """Tell what works on this computer, and how to mend what does not.

    Looks at Python, the packages, memory, disk, the cache of images, the processor
    and graphics cards, the installed models and the napari window. Exit code 0:
    prediction works here.
    """
    if clear_cache:
        with Output(as_json=as_json) as output:
            freed = clear()
            output.result({"freed": freed}, f"{freed / 2**20:.1f} MiB freed.")
        return
    with Output(as_json=as_json) as output:
        found = checks()
        values = {"ok": works(found), "checks": [check.to_json() for check in found]}
        output.result(values, _report(found))
    if not works(found):
        raise typer.Exit(2)


def _report(found: list[Check]) -> Group:
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
    verdict = (
        "Prediction works on this computer."
        if works(found)
        else "Prediction does not work yet: mend what is marked BAD."
    )
    return Group(table, verdict)
