"""The plots of a report: spread of Dice, reliability, agreement of volumes."""

import math

import numpy as np

from e2miseg_core.evaluation.page.svg import Axes, color_of, nice_range
from e2miseg_core.evaluation.report import Report

__all__ = ["dice_plot", "reliability_plot", "volume_plot"]

_MOST_NAMED = 12  # names of more structures would lie over each other
_NAME, _COLUMN = 20, 130  # letters of a name, pixels for it


def dice_plot(report: Report) -> str:
    """Dice of every case: dots, with the box of the quartiles and the median."""
    keys = list(report.label_names)
    names = [_short(report.label_names[key]) for key in keys]
    numbered = len(keys) > _MOST_NAMED
    axes = Axes(
        title="Dice of each case",
        x_label="structure (in the order of the table)" if numbered else "",
        y_label="Dice",
        x_range=(-0.6, len(keys) - 0.4),
        y_range=(_floor(report) - 0.02, 1.02),
        width=min(1100, max(420, 62 + _COLUMN * len(keys))),
        names=[str(i + 1) if numbered else name for i, name in enumerate(names)],
    )
    for index, key in enumerate(keys):
        color = color_of(index)
        values = [case.classes[key].dice for case in report.cases]
        low, middle, high = (float(v) for v in np.percentile(values, [25, 50, 75]))
        axes.box((index - 0.25, low), (index + 0.25, high), color)
        axes.line([(index - 0.25, middle), (index + 0.25, middle)], color, width=2.5)
        for number, (case, value) in enumerate(zip(report.cases, values, strict=True)):
            axes.dot(
                index + _jitter(number), value, color, tip=f"{case.case}: {value:.3f}"
            )
    return axes.render()


def reliability_plot(report: Report) -> str:
    """How often a structure is there, against its probability; "" without any."""
    axes = Axes(
        title="Reliability near each structure",
        x_label="probability",
        y_label="share of voxels where it is true",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        height=400,
    )
    axes.line([(0.0, 0.0), (1.0, 1.0)], "#888888", dashed=True)
    drawn = False
    for index, mean in enumerate(report.means.values()):
        if mean.reliability is None or not mean.reliability.n_voxels:
            continue
        drawn = True
        filled = [row for row in mean.reliability.bins.tolist() if row[0] > 0]
        axes.line([(p, share) for _, p, share in filled], color_of(index))
        for voxels, p, share in filled:
            tip = f"{voxels:.0f} voxels: {p:.3f} said, {share:.3f} true"
            axes.dot(p, share, color_of(index), tip=tip)
    return axes.render() if drawn else ""


def volume_plot(report: Report) -> str:
    """Bland-Altman plot of the volumes, with bias and limits of each structure."""
    points = [
        (index, case.case, scores.predicted_ml, scores.reference_ml)
        for case in report.cases
        for index, scores in enumerate(case.classes.values())
    ]
    agreements = [mean.agreement for mean in report.means.values()]
    limits = [v for one in agreements for v in one.limits_ml or (one.bias_ml,)]
    differences = [first - second for _, _, first, second in points]
    axes = Axes(
        title="Agreement of volumes",
        x_label="mean of both (ml)",
        y_label="predicted minus reference (ml)",
        x_range=nice_range((first + second) / 2 for _, _, first, second in points),
        y_range=nice_range([*differences, *limits, 0.0]),
    )
    left, right = axes.x_range
    axes.line([(left, 0.0), (right, 0.0)], "#888888", width=1.0)
    for index, one in enumerate(agreements):
        axes.line([(left, one.bias_ml), (right, one.bias_ml)], color_of(index))
        for limit in one.limits_ml or ():
            axes.line(
                [(left, limit), (right, limit)], color_of(index), width=1.0, dashed=True
            )
    for index, case, first, second in points:
        tip = f"{case}: {first:.4g} ml predicted, {second:.4g} ml in the reference"
        axes.dot((first + second) / 2, first - second, color_of(index), tip=tip)
    return axes.render()


def _floor(report: Report) -> float:
    """Return the tenth below the worst Dice, which leaves room for a good model's."""
    worst = min(one.dice for case in report.cases for one in case.classes.values())
    return min(0.9, math.floor(10 * worst) / 10)


def _jitter(number: int) -> float:
    """Spread dots sideways, always in the same way; the first in the middle."""
    return 0.4 * (math.modf(number * 0.618034 + 0.5)[0] - 0.5)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
