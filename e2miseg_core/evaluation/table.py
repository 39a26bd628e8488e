"""The scores of every case as a CSV table, a row for each case and structure."""

import csv
import io
from pathlib import Path
from typing import Any

from e2miseg_core.evaluation.report import Report
from e2miseg_core.io.atomic import replacing

__all__ = ["csv_rows", "write_csv"]

# A cell that begins so is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_rows(report: Report) -> list[dict[str, Any]]:
    """Rows of plain values; None where a figure has no value."""
    rows = []
    for case in report.cases:
        for key, scores in case.classes.items():
            row: dict[str, Any] = {
                "case": _text(case.case),
                "group": _text(case.group or case.case),
                "label": str(key),
                "structure": _text(report.label_names[key]),
                **scores.figures(),
            }
            for mm, share in scores.nsd_at.items():
                row[f"nsd_at_{mm:g}mm"] = share
            for name, value in scores.lesions.to_json().items():
                row[f"lesion_{name}"] = value
            if scores.reliability is not None:
                row |= scores.reliability.to_json()
            rows.append(row)
    return rows


def write_csv(path: Path, report: Report) -> None:
    """Write the table, whole or not at all.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    rows = csv_rows(report)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["case"])
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")


def _text(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA) else name
