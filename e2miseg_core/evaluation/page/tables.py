"""The tables of a report, as HTML; whatever a file or a user named is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from e2miseg_core.evaluation.intervals import Interval
from e2miseg_core.evaluation.lesions import size_strata
from e2miseg_core.evaluation.page.svg import color_of
from e2miseg_core.evaluation.report import STRATA_ML, Report
from e2miseg_core.evaluation.scores import ClassScores

__all__ = [
    "calibration_table",
    "case_table",
    "comparison_table",
    "lesion_table",
    "mean_table",
    "problem_table",
]

_FIGURES = (
    ("dice", "Dice", ".3f"),
    ("nsd", "NSD", ".3f"),
    ("hd95_mm", "HD95 (mm)", ".3g"),
    ("assd_mm", "ASSD (mm)", ".3g"),
    ("hd_mm", "HD (mm)", ".3g"),
)


def mean_table(report: Report) -> str:
    """Means over the cases with their intervals, a row for each structure."""
    rows = []
    for index, (key, mean) in enumerate(report.means.items()):
        agreement = mean.agreement
        rows.append(
            [
                _named(report.label_names[key], index),
                *(
                    _with_interval(getattr(mean, name), mean.intervals[name], form)
                    for name, _, form in _FIGURES
                ),
                f"{mean.predicted_ml:.4g}",
                f"{mean.reference_ml:.4g}",
                f"{agreement.bias_ml:+.3g}{_limits(agreement.limits_ml)}",
                str(mean.n_one_empty),
            ]
        )
    if len(report.label_names) > 1:
        overall = [
            _with_interval(
                report.mean(name),
                report.mean_intervals[name],
                form,
            )
            for name, _, form in _FIGURES
        ]
        rows.append(["all structures", *overall, "", "", "", ""])
    heads = ["structure", *(_head(report, name, title) for name, title, _ in _FIGURES)]
    heads += ["predicted (ml)", "reference (ml)", "bias (limits), ml", "one empty"]
    return _table(heads, rows)


def case_table(report: Report) -> str:
    """Every case and structure, the cases with the worst mean Dice first."""
    means = report.case_means("dice")
    order = sorted(range(len(means)), key=lambda i: (means[i], i))
    lesions, calibrated = report.in_pieces, report.mean_ece is not None
    rows = []
    for case in (report.cases[i] for i in order):
        for index, (key, scores) in enumerate(case.classes.items()):
            rows.append(
                [
                    escape(case.case),
                    _named(report.label_names[key], index),
                    *_case_figures(scores),
                    *([_lesions(scores)] if lesions else []),
                    *([_ece(scores)] if calibrated else []),
                ]
            )
    heads = ["case", "structure"]
    heads += [_head(report, name, title) for name, title, _ in _FIGURES]
    heads += ["predicted (ml)", "reference (ml)", "error (%)"]
    heads += ["lesions found"] if lesions else []
    heads += ["ECE"] if calibrated else []
    return _table(heads, rows)


def lesion_table(report: Report) -> str:
    """Lesions of all cases together, and those found by their size."""
    rows = []
    one_to_one = report.lesion_rule.min_iou > 0
    for index, (key, mean) in enumerate(report.means.items()):
        all_of_it = mean.lesions
        sizes = [
            f"{row['n_found']} of {row['n_reference']}"
            for row in size_strata(all_of_it, STRATA_ML)
        ]
        rows.append(
            [
                _named(report.label_names[key], index),
                f"{all_of_it.n_found} of {len(all_of_it.lesions)}",
                _share(all_of_it.sensitivity),
                _share(all_of_it.precision),
                f"{all_of_it.f1:.3f}",
                f"{mean.lesion_f1:.3f}",
                f"{all_of_it.n_false_positive / mean.n_cases:.3g}",
                _share(all_of_it.mean_dice),
                *([_share(all_of_it.panoptic_quality)] if one_to_one else []),
                *sizes,
            ]
        )
    low, high = STRATA_ML
    heads = ["structure", "found", "sensitivity", "precision", "F1 of all lesions"]
    heads += ["mean F1 of the cases", "false positives a case", "Dice of a lesion"]
    heads += ["panoptic quality"] if one_to_one else []
    heads += [f"below {low:g} ml", f"{low:g} to {high:g} ml", f"{high:g} ml and more"]
    return _table(heads, rows)


def calibration_table(report: Report) -> str:
    """Calibration near each structure, of the voxels of all cases together."""
    rows = []
    for index, (key, mean) in enumerate(report.means.items()):
        if mean.reliability is not None:
            told = mean.reliability.to_json()
            rows.append(
                [
                    _named(report.label_names[key], index),
                    *(_share(told[name]) for name in ("ece", "ace", "brier", "nll")),
                    str(told["n_voxels"]),
                ]
            )
    return _table(["structure", "ECE", "ACE", "Brier", "NLL (nats)", "voxels"], rows)


def comparison_table(report: Report) -> str:
    """Paired differences to the other prediction, with intervals and p values."""
    rows = []
    for key, figures in report.differences.items():
        name = escape(report.name_of(key))
        for figure, title, _ in _FIGURES:
            one = figures[figure]
            if one.n_cases:
                value = _with_interval(one.mean, one.interval, "+.3g")
                p_value = "" if one.p_value is None else f"{one.p_value:.3g}"
                rows.append([name, _head(report, figure, title), value, p_value])
    return _table(["structure", "figure", "difference", "p"], rows)


def problem_table(report: Report) -> str:
    """Cases that were left out, and why."""
    rows = [[escape(one.case), escape(one.message)] for one in report.problems]
    return _table(["case", "why"], rows)


def _case_figures(scores: ClassScores) -> list[str]:
    far = scores.predicted_empty != scores.reference_empty
    error = scores.relative_volume_error
    return [
        *(
            f"{getattr(scores, name):{form}}" + (" *" if far and "mm" in name else "")
            for name, _, form in _FIGURES
        ),
        f"{scores.predicted_ml:.4g}",
        f"{scores.reference_ml:.4g}",
        "" if error is None else f"{100 * error:+.1f}",
    ]


def _lesions(scores: ClassScores) -> str:
    found = scores.lesions
    wrong = f", {found.n_false_positive} wrong" if found.n_false_positive else ""
    return f"{found.n_found} of {len(found.lesions)}{wrong}"


def _ece(scores: ClassScores) -> str:
    return _share(scores.reliability.ece if scores.reliability else None)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _with_interval(value: float, interval: Interval | None, form: str) -> str:
    if interval is None:
        return f"{value:{form}}"
    ends = f"{interval.low:{form}} to {interval.high:{form}}"
    return f"{value:{form}} <small>({ends})</small>"


def _limits(limits: tuple[float, float] | None) -> str:
    if limits is None:
        return ""
    return f" <small>({limits[0]:+.3g} to {limits[1]:+.3g})</small>"


def _head(report: Report, name: str, title: str) -> str:
    return f"{title} at {report.tolerance_mm:g} mm" if name == "nsd" else title


def _named(name: str, index: int) -> str:
    return f'<span style="color:{color_of(index)}">&#9632;</span> {escape(name)}'


def _table(heads: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already; headings are text."""
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>\n{body}</tbody></table></div>"
    )
