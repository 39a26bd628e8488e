"""What commands print: words and bars for people, JSON lines for programs."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from e2miseg_core.progress import Progress, TimeLeft

__all__ = ["Output"]

PAUSE = 10.0  # seconds between two lines of a log, besides those of epochs


class Output:
    """The output of one command; a context manager.

    Parameters
    ----------
    as_json : bool
        Print one JSON object a line, `{"event": ...}`, and nothing else.
    quiet : bool
        Print errors only: another process of the same command prints the rest.
    """

    def __init__(self, *, as_json: bool, quiet: bool = False) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self.console = Console(quiet=quiet)
        if not self.console.is_terminal:
            self.console.width = 200  # in a file or a report, lines stay whole
        self._errors = Console(stderr=True)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._time_left = TimeLeft()
        self._last: Progress | None = None  # that told an epoch
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_bar()

    def progress(self, step: Progress) -> None:
        """Show where a job is: a bar on a terminal, a line for programs and logs."""
        if self.as_json:
            if step.stage != self._stage:
                self._stage, self._time_left = step.stage, TimeLeft()
            values = {
                "done": step.done,
                "total": step.total,
                "stage": step.stage,
                "seconds_left": self._time_left.update(step.done, step.total),
            }
            self._event("progress", **{**values, **step.details})
        elif self._errors.is_terminal and not self._quiet:
            self._show(step)
        elif not self._quiet:
            self._log(step)

    def stages(self, step: Progress) -> None:
        """Like `progress`; where there is no terminal, a line for each stage."""
        if self._quiet:
            return
        if not self.as_json and not self._errors.is_terminal:
            if step.stage != self._stage:
                self._stage = step.stage
                self._errors.print(f"{step.stage}…", highlight=False, markup=False)
        else:
            self.progress(step)

    def result(
        self, values: Mapping[str, Any], shown: RenderableType | None = None
    ) -> None:
        """Give a result: `values` to programs, `shown` to people."""
        if self.as_json:
            self._event("result", **values)
        elif shown is not None:
            self._close_bar()
            self._print(shown, soft_wrap=True)

    def table(self, table: RenderableType) -> None:
        """Show a table to people; programs get their values by `result`."""
        if not self.as_json:
            self._close_bar()
            self._print(table, soft_wrap=False)

    def _print(self, shown: RenderableType, *, soft_wrap: bool) -> None:
        # A file name in brackets is no markup.
        show = partial(self.console.print, highlight=False, markup=False)
        if self.console.is_terminal or self._quiet:
            show(shown, soft_wrap=soft_wrap)
            return
        with self.console.capture() as capture:  # tables are padded to their width
            show(shown, soft_wrap=soft_wrap)
        for line in capture.get().splitlines():
            show(line.rstrip(), soft_wrap=True)

    def warning(self, message: str) -> None:
        """Tell something that the user should know and may ignore."""
        if self.as_json:
            self._event("warning", message=message)
        elif not self._quiet:
            self._errors.print(
                f"note: {message}", highlight=False, markup=False, soft_wrap=True
            )

    def error(self, message: str, **values: Any) -> None:
        """Tell why the command failed, in one line; programs also get values."""
        self._close_bar()
        if self.as_json:
            self._event("error", message=message, **values)
        self._errors.print(
            f"error: {message}", highlight=False, markup=False, soft_wrap=True
        )

    def _event(self, event: str, **values: Any) -> None:
        if self._quiet and event != "error":
            return
        line = {"event": event, **{k: _json_value(v) for k, v in values.items()}}
        print(json.dumps(line, allow_nan=False), flush=True)

    def _log(self, step: Progress) -> None:
        """Where there is no terminal: a line an epoch, and else now and then."""
        epoch = step.details.get("epoch")
        if epoch is not None:
            last, self._last = self._last, step
            if step.done == step.total:
                return self._say(step)
            if last is not None and last.details["epoch"] != epoch:
                # What is known of its Dice comes with the next one's first step.
                dice = {"smoothed_dice": step.details.get("smoothed_dice")}
                return self._say(replace(last, details={**last.details, **dice}))
        if time.monotonic() - self._said > PAUSE:
            self._say(step)
        return None

    def _say(self, step: Progress) -> None:
        self._said = time.monotonic()
        self._errors.print(_line(step), highlight=False, markup=False, soft_wrap=True)

    def _show(self, step: Progress) -> None:
        if self._bar is None:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _TimeLeftColumn(),
                TextColumn("{task.fields[facts]}"),
                console=self._errors,
                transient=True,
            )
            self._bar.start()
        if self._task is None or step.stage != self._stage:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(step.stage, total=None, facts="", left=None)
            self._stage = step.stage
        self._bar.update(
            self._task,
            completed=step.done,
            total=step.total or None,
            facts=_facts(step.details),
            left=step.details.get("seconds_left"),
        )

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None


class _TimeLeftColumn(TimeRemainingColumn):
    """What the job itself foretells; else by the steps done so far."""

    def render(self, task: Task) -> Text:
        left = task.fields["left"]
        if left is None:
            return super().render(task)
        return Text(f"{timedelta(seconds=round(left))}", style="progress.remaining")


def _line(step: Progress) -> str:
    """A step in one line of a log."""
    done = f" {step.done}/{step.total}" if step.total else ""
    facts, left = _facts(step.details), step.details.get("seconds_left")
    if isinstance(left, int | float):
        facts += f"  {timedelta(seconds=round(left))} left"
    return f"{step.stage}{done}  {facts}".rstrip()


def _facts(details: Mapping[str, object]) -> str:
    shown = {
        k.replace("_", " "): v
        for k, v in details.items()
        if v is not None and k != "seconds_left"  # it has a column of its own
    }
    return "  ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in shown.items()
        if isinstance(value, int | float | str)
    )


def _json_value(value: Any) -> Any:
    """Null where a number is NaN or infinite, which JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value
