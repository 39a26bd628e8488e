"""What a run leaves to look at.

RUN/history.csv     one line an epoch
RUN/curves.svg      the same as a picture
RUN/pictures/       a sample prediction of each of the last validations
RUN/tensorboard/    the same figures and pictures for TensorBoard
RUN/log.txt         what happened, in words
"""

import csv
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.training.curves import history_panels, write_curves
from e2miseg_core.training.history import append_rows
from e2miseg_core.training.pictures import (
    ShownSlice,
    keep_newest,
    sample_picture,
    write_picture,
)

__all__ = ["COLUMNS", "RunLog", "clear_logs"]

COLUMNS = (
    "epoch",
    "learning_rate",
    "loss",
    "selection_dice",
    "smoothed",
    "average_dice",
    "skipped",
    "samples_per_second",
    "waiting_seconds",
    "seconds",
)
HISTORY, CURVES, LOG = "history.csv", "curves.svg", "log.txt"
PICTURES, TENSORBOARD = "pictures", "tensorboard"
KEPT_PICTURES = 20


def clear_logs(folder: Path) -> None:
    """Remove what an earlier run left."""
    for name in (HISTORY, CURVES, LOG):
        (folder / name).unlink(missing_ok=True)
    for name in (PICTURES, TENSORBOARD):
        shutil.rmtree(folder / name, ignore_errors=True)


class RunLog:
    """Writes the files; nothing where another process of the team does.

    Parameters
    ----------
    folder : Path
        Of the run; must exist.
    writes : bool
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self._folder, self._writes = folder, writes
        self._writer: Any = None

    def say(self, text: str) -> None:
        """Add a line with the time to the log."""
        if self._writes:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            with (self._folder / LOG).open("a", encoding="utf-8") as file:
                file.write(f"{now} {text}\n")

    def epoch(
        self, values: Mapping[str, float | None], shown: ShownSlice | None
    ) -> None:
        """Add an epoch; a repeated one, after a kill, replaces the old one.

        Parameters
        ----------
        values : mapping
            By `COLUMNS`; None where nothing was measured.
        shown : ShownSlice, optional
            Of a validation.
        """
        if not self._writes:
            return
        number = int(values["epoch"] or 0)
        path = self._folder / HISTORY
        append_rows(path, COLUMNS, [[_text(values[name]) for name in COLUMNS]])
        with path.open(newline="", encoding="utf-8") as file:
            write_curves(
                self._folder / CURVES, history_panels(list(csv.DictReader(file)))
            )
        picture = None if shown is None else sample_picture(shown)
        if picture is not None:
            pictures = self._folder / PICTURES
            pictures.mkdir(exist_ok=True)
            write_picture(pictures / f"epoch-{number:05d}.png", picture)
            keep_newest(pictures, KEPT_PICTURES)
        self._to_tensorboard(values, picture)
        self.say(
            ", ".join(f"{k} {_text(v)}" for k, v in values.items() if v is not None)
        )

    def close(self) -> None:
        """Close the file that is kept open for TensorBoard."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _to_tensorboard(
        self, values: Mapping[str, float | None], picture: NDArray[np.uint8] | None
    ) -> None:
        from tensorboardX import SummaryWriter  # only training needs it

        epoch = int(values["epoch"] or 0)
        if self._writer is None:
            self._writer = SummaryWriter(
                str(self._folder / TENSORBOARD),
                purge_step=epoch,  # hides what a killed run wrote from here on
                filename_suffix=f".{epoch:05d}",  # names differ within a second
            )
        for name, value in values.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, epoch)
        if picture is not None:
            self._writer.add_image("sample", picture, epoch, dataformats="HWC")
        self._writer.flush()


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
