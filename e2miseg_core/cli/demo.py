"""`e2miseg demo`: the window with a sample volume, or pictures where there is none."""

from pathlib import Path
from typing import Annotated

import typer

from e2miseg_core.cli.output import Output

__all__ = ["demo"]


def demo(
    *,
    headless: Annotated[
        bool,
        typer.Option("--headless", help="No window: write pictures of the result."),
    ] = False,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder of the pictures, if headless."),
    ] = Path("e2miseg-demo"),
) -> None:
    """Open napari with the plugin, a sample volume and a starter model.

    Without a display the sample is predicted here, and pictures and files are written.
    """
    import os
    import subprocess
    import sys

    from e2miseg_core.doctor.window import has_display

    with Output(as_json=False) as out:
        if headless or not has_display():
            if not headless:
                out.warning("no display here: writing pictures instead of a window")
            # Only here: it loads torch, which the window's process does without.
            from e2miseg_core.demo.loop import run_headless

            out.result({}, run_headless(output, out.stages))
            return
    code = subprocess.call(
        [sys.executable, "-m", "e2miseg_napari.demo"], env=os.environ
    )
    if code:
        raise typer.Exit(code)
