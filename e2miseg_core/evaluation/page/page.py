"""The page itself: one file without scripts, fonts or pictures from elsewhere."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from e2miseg_core.evaluation.absence import absent_words
from e2miseg_core.evaluation.differences import too_few_words
from e2miseg_core.evaluation.intervals import DRAWS
from e2miseg_core.evaluation.page.pictures import CasePicture
from e2miseg_core.evaluation.page.plots import dice_plot, reliability_plot, volume_plot
from e2miseg_core.evaluation.page.svg import color_of
from e2miseg_core.evaluation.page.tables import (
    calibration_table,
    case_table,
    comparison_table,
    lesion_table,
    mean_table,
    problem_table,
)
from e2miseg_core.evaluation.report import Report
from e2miseg_core.evaluation.structures import INSTANCES
from e2miseg_core.io.atomic import replacing

__all__ = ["render_page", "write_page"]

_OPEN_ROWS = 60  # longer tables are folded

# Nothing may be fetched or run, even if a name smuggled something in.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 1180px; margin: 1.5em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: .2em; }
h2 { font-size: 1.15em; margin: 1.8em 0 .4em; }
h3 { font-size: 1em; margin: 1.2em 0 .3em; }
small, .note, figcaption { color: #555; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .22em .7em; text-align: right; white-space: nowrap;
         border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
tbody tr:nth-child(even) { background: #f6f6f6; }
.plots, .slices { display: flex; flex-wrap: wrap; gap: 1em; }
.plot text { font: 11px system-ui, sans-serif; fill: #333; }
.plot .grid line { stroke: #e4e4e4; }
.slice { background: #222; display: block; }
figure { margin: 0; }
figcaption { font-size: .85em; }
summary { cursor: pointer; }
"""


def render_page(
    report: Report,
    pictures: Sequence[CasePicture] = (),
    *,
    title: str = "Evaluation",
) -> str:
    """Make the HTML page of a report.

    Parameters
    ----------
    report : Report
    pictures : sequence of CasePicture
        Worst case first.
    title : str

    Returns
    -------
    str
        A whole HTML file that needs nothing else; all text in it is escaped.
    """
    sections = [
        ("Means over the cases", mean_table(report) + _means_note(report)),
        ("Left out", problem_table(report) if report.problems else ""),
        ("Compared with another prediction", _comparison(report)),
        ("Plots", _plots(report)),
        ("Lesions", _lesions(report)),
        ("Calibration", _calibration(report)),
        ("Worst cases", _pictures(report, pictures)),
        ("All cases, worst first", _cases(report)),
    ]
    body = "\n".join(f"<h2>{name}</h2>\n{html}" for name, html in sections if html)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{_summary(report)}\n{body}\n</body></html>\n"
    )


def write_page(path: Path, html: str) -> None:
    """Write a page whole or not at all.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    with replacing(path) as partial:
        partial.write_text(html, encoding="utf-8")


def _summary(report: Report) -> str:
    cases, groups = len(report.cases), len(set(report.groups))
    told = f"{cases} case{'s' if cases != 1 else ''}"
    if groups != cases:
        told += f" in {groups} group{'s' if groups != 1 else ''}"
    if report.problems:
        told += f", {len(report.problems)} left out"
    if report.other_values:
        values = ", ".join(map(str, report.other_values))
        told += f"; the label values {values} belong to no structure"
    if report.absent:
        told += f"; {absent_words(report.absent)}"
    return f'<p class="note">{escape(told)}.</p>'


def _means_note(report: Report) -> str:
    interval = (
        f"In brackets 95 % intervals: percentile bootstrap, {DRAWS} draws of whole "
        "groups of cases; of the bias, the limits of agreement. "
        if len(set(report.groups)) > 1
        else "One case or group: no intervals. "
    )
    return (
        f'<p class="note">{interval}Both empty: Dice and NSD 1, distances 0. One '
        "empty: Dice and NSD 0, distances the image's diagonal (marked * below). "
        "HD95: the larger of the two directed 95th percentiles.</p>"
    )


def _comparison(report: Report) -> str:
    if not report.differences:
        return ""
    few = too_few_words(report.differences)
    few = f"; {few}" if few else ""
    return (
        f'<p class="note">This prediction minus {escape(report.compared_with)}, over '
        f"the cases that both have; p by permutation of whole groups, two-sided{few}."
        "</p>" + comparison_table(report)
    )


def _plots(report: Report) -> str:
    if not report.label_names:
        return ""
    plots = [dice_plot(report), volume_plot(report), reliability_plot(report)]
    return f'<div class="plots">{"".join(plots)}</div>'


def _lesions(report: Report) -> str:
    if not report.in_pieces:
        return ""
    rule = report.lesion_rule
    found = (
        "found where one of its voxels is predicted; a predicted piece that touches "
        "none is a false positive"
        if rule.min_iou == 0
        else f"matched one to one with a predicted piece, IoU at least {rule.min_iou:g}"
    )
    least = f", of {rule.min_ml:g} ml or more" if rule.min_ml else ""
    what = f"a connected piece of the reference ({rule.connectivity} neighbours{least})"
    if INSTANCES.key in report.label_names:
        what = f"an object of the reference by its number{least}"
    return (
        f'<p class="note">A lesion is {what}, {found}. Dice of a lesion counts those '
        "not found as 0.</p>" + lesion_table(report)
    )


def _calibration(report: Report) -> str:
    if report.mean_ece is None:
        return ""
    return (
        '<p class="note">Probability of each structure against the reference, in '
        "voxels at most 5 finest voxel sides from where it is or is predicted. ECE: 15 "
        "bins of equal width; ACE: 15 of equal mass.</p>" + calibration_table(report)
    )


def _pictures(report: Report, pictures: Sequence[CasePicture]) -> str:
    if not pictures:
        return ""
    names = " ".join(
        f'<span style="color:{color_of(index)}">&#9632;</span> {escape(name)}'
        for index, name in enumerate(report.label_names.values())
    )
    means = {
        case.case: value
        for case, value in zip(report.cases, report.case_means("dice"), strict=True)
    }
    parts = [
        '<p class="note">Slices through the largest error. Solid: reference; dashed: '
        f"prediction. {names}</p>"
    ]
    for picture in pictures:
        note = f'<p class="note">{escape(picture.note)}</p>' if picture.note else ""
        parts.append(
            f"<h3>{escape(picture.case)}: mean Dice {means[picture.case]:.3f}</h3>"
            f'{note}<div class="slices">{picture.html}</div>'
        )
    return "\n".join(parts)


def _cases(report: Report) -> str:
    table = case_table(report)
    if len(report.table) <= _OPEN_ROWS:
        return table
    return f"<details><summary>{len(report.table)} rows</summary>{table}</details>"
