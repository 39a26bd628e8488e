"""What `e2miseg evaluate` does, step by step."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from e2miseg_core.cli.output import Output
from e2miseg_core.errors import DatasetError
from e2miseg_core.progress import Job

if TYPE_CHECKING:
    from e2miseg_core.evaluation import Judging, Problem, Report

__all__ = ["check_complete", "compare", "draw", "show", "warn", "write"]

MOST_NAMES = 3  # of cases that are left out for one reason


def compare(
    predicted: str,
    reference: str,
    judging: "Judging",
    probabilities: str | None,
    other: str | None,
) -> "Job[tuple[Report, list[Problem]]]":
    """Report of a prediction, and what of its cases `other` does not have."""
    from e2miseg_core.evaluation import evaluate_paths

    report = yield from evaluate_paths(
        predicted, reference, judging=judging, probabilities=probabilities
    )
    if other is None:
        return report, []
    theirs = yield from evaluate_paths(other, reference, judging=judging)
    told = replace(report, differences=report.compare(theirs), compared_with=other)
    mine = {case.case for case in report.cases}
    return told, [one for one in theirs.problems if one.case in mine]


def write(report: "Report", output: Path | None, table: Path | None) -> None:
    """Write report and table, where they are wanted."""
    from e2miseg_core.evaluation.table import write_csv
    from e2miseg_core.io.atomic import write_json

    if output is not None:
        write_json(output, report.to_json())
    if table is not None:
        write_csv(table, report)


def warn(out: Output, report: "Report", lacking: Sequence["Problem"]) -> None:
    """Tell what was left out, of the report and of its comparison."""
    from e2miseg_core.evaluation.absence import absent_words

    if lacking:
        shared = len(report.cases) - len(lacking)
        out.warning(
            f"compared over the {shared} of {len(report.cases)} cases that both "
            "predictions have"
        )
    for problem in lacking:
        out.warning(f"left out of the comparison: {problem.message}")
    reasons: dict[str, list[Problem]] = {}
    for problem in report.problems:
        reason = problem.message.removeprefix(f"{problem.case}: ")
        reasons.setdefault(reason, []).append(problem)
    for reason, problems in reasons.items():
        names = ", ".join(one.case for one in problems[:MOST_NAMES])
        more = f" and {len(problems) - MOST_NAMES} more"
        names += more if len(problems) > MOST_NAMES else ""
        out.warning(f"left out: {names}: {reason}")
    if report.other_values:
        values = ", ".join(map(str, report.other_values))
        out.warning(f"the label values {values} belong to no structure")
    if report.absent:
        out.warning(absent_words(report.absent))


def draw(report: "Report", html: Path, images: str | None) -> Job[None]:
    """Write the page with pictures of the worst cases."""
    from e2miseg_core.evaluation.page import draw_worst, render_page, write_page
    from e2miseg_core.evaluation.pairing import beside
    from e2miseg_core.io.address import Address

    place = None if images is None else Address.parse(images)
    files = beside(place, [case.case for case in report.cases], "images")
    pictures = yield from draw_worst(report, files)
    write_page(html, render_page(report, pictures))


def show(out: Output, report: "Report") -> None:
    """Print the tables, or the report as JSON."""
    from e2miseg_core.cli.evaluate_tables import MOST_ROWS, cases, details, means

    if len(report.cases) > 1 and len(report.table) <= MOST_ROWS:
        out.table(cases(report))
    for table in details(report):
        out.table(table)
    out.result(report.to_json(), means(report))


def check_complete(report: "Report") -> None:
    """A mean over some of the cases must not pass for one over all."""
    if report.problems:
        total = len(report.cases) + len(report.problems)
        raise DatasetError(
            found=f"{len(report.problems)} of {total} cases could not be compared",
            needed="one prediction and one reference of each case, on one grid",
            do="see the notes above; the scores are of the other cases",
        )
