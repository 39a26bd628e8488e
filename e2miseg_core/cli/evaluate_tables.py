"""The tables that `e2miseg evaluate` shows on a terminal."""

from rich import box
from rich.markup import escape
from rich.table import Table

from e2miseg_core.evaluation import Interval, Report
from e2miseg_core.evaluation.differences import too_few_words

__all__ = ["MOST_ROWS", "cases", "details", "means"]

FIGURES = {  # that are compared
    "dice": "Dice",
    "nsd": "NSD",
    "hd95_mm": "HD95 (mm)",
    "assd_mm": "ASSD (mm)",
}
MOST_ROWS = 60  # a longer table of cases scrolls the means away


def means(report: Report) -> Table:
    """Means over the cases, a row for each structure."""
    many = len(report.cases) > 1
    title = f"Mean of {len(report.cases)} cases" if many else report.cases[0].case
    table = _table(report, title, ["structure"])
    for key, mean in report.means.items():
        far = mean.n_one_empty > 0
        table.add_row(
            escape(report.label_names[key]),
            _share(mean.dice, mean.intervals["dice"]),
            f"{mean.nsd:.3f}",
            *(_mm(one, far=far) for one in (mean.hd95_mm, mean.assd_mm)),
            *(_ml(volume) for volume in (mean.predicted_ml, mean.reference_ml)),
        )
    if len(report.label_names) > 1:
        table.add_section()
        table.add_row(
            "all structures",
            _share(report.mean_dice, report.mean_intervals["dice"]),
            f"{report.mean_nsd:.3f}",
            *(
                _mm(one, far=_far(report))
                for one in (report.mean_hd95_mm, report.mean_assd_mm)
            ),
        )
    if _far(report):
        table.caption = (
            "* where a structure is missing from one side, distances are set to the "
            "diagonal of the image"
        )
    return table


def cases(report: Report) -> Table:
    """Every case and structure, the name of a case where it begins."""
    table = _table(report, "Cases", ["case", "structure"])
    before = None
    for row in report.table:
        far = row["predicted_empty"] != row["reference_empty"]
        table.add_row(
            "" if row["case"] == before else escape(row["case"]),
            escape(row["name"]),
            *(f"{row[score]:.3f}" for score in ("dice", "nsd")),
            *(_mm(row[score], far=far) for score in ("hd95_mm", "assd_mm")),
            *(_ml(row[volume]) for volume in ("predicted_ml", "reference_ml")),
        )
        before = row["case"]
    return table


def details(report: Report) -> list[Table]:
    """Lesions, calibration and the comparison, where there are any."""
    wanted = (
        (_lesions, report.in_pieces),
        (_calibration, report.mean_ece is not None),
        (_differences, bool(report.differences)),
    )
    return [make(report) for make, is_there in wanted if is_there]


def _lesions(report: Report) -> Table:
    heads = ["found", "sensitivity", "precision", "F1", "FP/case", "Dice"]
    one_to_one = report.lesion_rule.min_iou > 0
    heads += ["PQ"] if one_to_one else []
    table = _plain("Lesions of all cases", ["structure"], heads)
    for key, mean in report.means.items():
        one = mean.lesions
        table.add_row(
            escape(report.label_names[key]),
            f"{one.n_found} of {len(one.lesions)}",
            *(_or_dash(value) for value in (one.sensitivity, one.precision, one.f1)),
            f"{one.n_false_positive / mean.n_cases:.2f}",
            _or_dash(one.mean_dice),
            *([_or_dash(one.panoptic_quality)] if one_to_one else []),
        )
    return table


def _calibration(report: Report) -> Table:
    figures = ("ece", "ace", "brier", "nll")
    heads = [figure.upper() if len(figure) == 3 else "Brier" for figure in figures]
    table = _plain("Calibration near each structure", ["structure"], heads)
    for key, mean in report.means.items():
        told = mean.reliability.to_json() if mean.reliability else {}
        table.add_row(
            escape(report.label_names[key]),
            *(_or_dash(told.get(figure)) for figure in figures),
        )
    return table


def _differences(report: Report) -> Table:
    title = f"This prediction less that of {escape(report.compared_with)}"
    table = _plain(title, ["structure"], ["figure", "difference", "95 %", "p"])
    for key, figures in report.differences.items():
        for figure in FIGURES:
            one = figures[figure]
            ends = one.interval
            table.add_row(
                escape(report.name_of(key)),
                FIGURES[figure],
                f"{one.mean:+.4f}" if one.n_cases else "-",
                f"{ends.low:+.4f} to {ends.high:+.4f}" if ends else "-",
                "-" if one.p_value is None else f"{one.p_value:.3g}",
            )
    table.caption = (
        "Dice and NSD above 0, HD95 and ASSD below 0: this prediction is the better one"
    )
    few = too_few_words(report.differences)
    table.caption += f"\n{few}" if few else ""
    return table


def _table(report: Report, title: str, first: list[str]) -> Table:
    units = f"NSD at {report.tolerance_mm:g} mm, HD95 and ASSD in mm, volumes in ml"
    heads = ["Dice", "NSD", "HD95", "ASSD", "predicted", "true"]
    return _plain(f"{escape(title)}: {units}", first, heads)


def _plain(title: str, first: list[str], heads: list[str]) -> Table:
    """A table without lines between columns, to fit 80 of them; names may wrap."""
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    for name in first:
        table.add_column(name, overflow="fold")
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _far(report: Report) -> bool:
    return any(mean.n_one_empty for mean in report.means.values())


def _share(value: float, interval: Interval | None) -> str:
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _mm(distance: float, *, far: bool) -> str:
    return f"{distance:.2f}{' *' if far else ''}"


def _ml(volume: float) -> str:
    return f"{volume:.3f}" if volume < 100 else f"{volume:.1f}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
