"""All commands together, and what becomes of their errors."""

import inspect
import re
import traceback
from typing import Any

import typer

from e2miseg_core.cli import CANCELLED
from e2miseg_core.cli.convert import convert
from e2miseg_core.cli.demo import demo
from e2miseg_core.cli.doctor import doctor
from e2miseg_core.cli.edges import edges
from e2miseg_core.cli.evaluate import evaluate
from e2miseg_core.cli.finetune import finetune
from e2miseg_core.cli.info import info
from e2miseg_core.cli.models import models
from e2miseg_core.cli.networks import networks
from e2miseg_core.cli.output import Output
from e2miseg_core.cli.predict import predict
from e2miseg_core.cli.project import project
from e2miseg_core.cli.simulate import simulate
from e2miseg_core.cli.train import train
from e2miseg_core.cli.worker import worker
from e2miseg_core.errors import Cancelled, as_user_error

__all__ = ["app", "reflowed", "run"]

DONE, BUG, USER = 0, 1, 2

# typer brings its own copy of click, whose base error it does not export.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def reflowed(text: str) -> str:
    """A docstring whose paragraphs have no hard breaks, for any width.

    A line that explains a term ("Dice: ...") begins anew.
    """
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(re.sub(r"\n(?!\w+: )", " ", part) for part in paragraphs)


app = typer.Typer(
    name="e2miseg",
    help="Segment 3D volumes with an edge-aware network and see where it may be "
    "wrong. Research use only: not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    demo,
    doctor,
    info,
    convert,
    predict,
    edges,
    train,
    finetune,
    evaluate,
    simulate,
    networks,
    worker,
):
    app.command(help=reflowed(command.__doc__ or ""))(command)
app.add_typer(models, name="models")
app.add_typer(project, name="project")


@app.callback(invoke_without_command=True)
def _root(
    *,
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    if version:
        from e2miseg_core import __version__

        print(f"e2miseg-napari {__version__}")
        raise typer.Exit


def run(arguments: list[str]) -> int:
    """Run the command line `arguments` and return the exit code."""
    output = Output(as_json="--json" in arguments)
    try:
        code = app(arguments, standalone_mode=False)
    except Cancelled as error:
        return _cancelled(output, error.kept)
    except (KeyboardInterrupt, typer.Abort):
        return _cancelled(output)
    except UsageError as error:
        return _misused(error, output)
    except Exception as error:  # noqa: BLE001 - a bug: told whole, and as such
        mendable = as_user_error(error)
        if mendable is not None:
            output.error(str(mendable))
            return USER
        traceback.print_exc()
        output.error(
            f"a bug in this program ({type(error).__name__}); please report it"
        )
        return BUG
    if code == CANCELLED:  # typer's answer to Ctrl-C
        return _cancelled(output)
    return code if isinstance(code, int) else DONE


def _cancelled(output: Output, kept: str = Cancelled.kept) -> int:
    output.error(f"cancelled; {kept}")
    return CANCELLED


def _misused(error: Any, output: Output) -> int:
    """Tell a wrong call in one line; the bare command shows its help instead."""
    message = " ".join(error.format_message().split()).rstrip(".")
    if "Usage:" in message or not message:  # help is the answer
        error.show()
        return USER
    path = error.ctx.command_path if error.ctx else "e2miseg"
    output.error(f"{message}; needed: a call as the help shows it; see `{path} --help`")
    return USER
