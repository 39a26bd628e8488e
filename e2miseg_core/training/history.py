"""The curve of a training: a CSV file of one line a step or epoch."""

import csv
from collections.abc import Sequence
from pathlib import Path

from e2miseg_core.io.atomic import replacing

__all__ = ["append_rows"]


def append_rows(
    path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Add lines; older ones of steps that are being repeated are dropped.

    Parameters
    ----------
    path : Path
        Made if need be.
    columns : sequence of str
        The first line.
    rows : sequence of sequences
        Each begins with its step, an int; in order.
    """
    if not rows:
        return
    kept: list[list[str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.reader(file) if row and row[0].isdigit()]
    kept = [row for row in kept if int(row[0]) < int(str(rows[0][0]))]
    with (
        replacing(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([columns, *kept, *rows])
