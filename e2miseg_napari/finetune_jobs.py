"""What fine-tunings have left on disk: the curve of one, and one to be resumed.

JOB/request.json   what was asked for
JOB/history.csv    a line for each step, up to the last checkpoint; step 0 is the model
                   as it was
"""

import csv
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from e2miseg_core.project.jobs import REQUEST, named_time, newest_unfinished

__all__ = [
    "CurvePoint",
    "UnfinishedJob",
    "find_unfinished",
    "has_begun",
    "read_history",
]

_HISTORY = "history.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One training step; `wrong` counts the wrong voxels on what is held out.

    Both are None where the step did not measure them. Step 0 is before the first one.
    """

    step: int
    loss: float | None = None
    wrong: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedJob:
    """A fine-tuning that was left in the middle.

    Attributes
    ----------
    folder : Path
        That it lives in.
    step, steps : int
        Steps that are on disk, 0 while it was preparing, and steps asked for, 0 where
        that is not told.
    started : datetime
        When, in local time.
    """

    folder: Path
    step: int
    steps: int
    started: datetime

    @property
    def sentence(self) -> str:
        """Which one, such as "The fine-tuning of 11:20 stopped at step 40 of 150."."""
        today = datetime.now(self.started.tzinfo).date()
        same_day = self.started.date() == today
        when = self.started.strftime("%H:%M" if same_day else "%d %b, %H:%M")
        of = f" of {self.steps}" if self.steps else ""
        return f"The fine-tuning of {when} stopped at step {self.step}{of}."

    @property
    def seconds(self) -> float:
        """How long it has been at work, about: pauses are not known."""
        try:
            begun = (self.folder / REQUEST).stat().st_mtime
            return max(0.0, (self.folder / _HISTORY).stat().st_mtime - begun)
        except OSError:
            return 0.0


def find_unfinished(project: Path) -> UnfinishedJob | None:
    """The last fine-tuning of a project, if it has not ended.

    Whether somebody is at work on it is not asked here.

    Parameters
    ----------
    project : Path
        The project's folder.
    """
    folder = newest_unfinished(project)
    if folder is None:
        return None
    history = read_history(folder)
    return UnfinishedJob(
        folder=folder,
        step=history[-1].step if history else 0,
        steps=_steps(folder),
        started=_started(folder),
    )


def has_begun(folder: Path) -> bool:
    """Whether there is anything to resume."""
    return (folder / REQUEST).exists()


def read_history(folder: Path) -> list[CurvePoint]:
    """The steps of a job that are on disk; none where there is nothing readable."""
    try:
        with (folder / _HISTORY).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [
            CurvePoint(
                step=int(row["step"]),
                loss=_number(row["loss"]),
                wrong=_number(row["held_out_wrong"]),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _number(text: str) -> float | None:
    number = float(text) if text else math.nan
    return number if math.isfinite(number) else None


def _steps(folder: Path) -> int:
    try:
        request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
        return int(request["settings"]["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _started(folder: Path) -> datetime:
    began = named_time(folder)
    if began is None:  # a folder that somebody else has named
        began = datetime.fromtimestamp((folder / REQUEST).stat().st_mtime, UTC)
    return began.astimezone()
