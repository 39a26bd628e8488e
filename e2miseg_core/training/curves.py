"""The curves of a run as a picture: an SVG file that any browser shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from e2miseg_core.io.atomic import replacing

__all__ = ["Curve", "Panel", "write_curves"]

WIDTH, HEIGHT, MARGIN = 720, 240, 48  # pixels of a panel, and around its axes
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # told apart by everybody
TICKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line: points (x, y), and the name of what it shows."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Curves with common axes."""

    title: str
    curves: Sequence[Curve]


def history_panels(rows: Sequence[Mapping[str, str]]) -> list[Panel]:
    """Loss, selection Dice and throughput of the lines of a `history.csv`."""

    def curve(column: str, name: str) -> Curve:
        points = [
            (float(row["epoch"]), float(row[column])) for row in rows if row[column]
        ]
        return Curve(name=name, points=[p for p in points if math.isfinite(p[1])])

    dice = [
        curve("selection_dice", "selection Dice"),
        curve("smoothed", "its moving average"),
        curve("average_dice", "Dice of averaged weights"),
    ]
    return [
        Panel(title="loss", curves=[curve("loss", "training loss")]),
        Panel(title="selection cases", curves=dice),
        Panel(
            title="throughput",
            curves=[curve("samples_per_second", "patches per second")],
        ),
    ]


def write_curves(path: Path, panels: Sequence[Panel]) -> None:
    """Draw panels one below the other; what stood at `path` is replaced."""
    drawn = [
        f'<g transform="translate(0 {number * HEIGHT})">{_panel(panel)}</g>'
        for number, panel in enumerate(panels)
    ]
    size = f'width="{WIDTH}" height="{HEIGHT * len(panels)}"'
    text = "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            'font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *drawn,
            "</svg>\n",
        ]
    )
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _panel(panel: Panel) -> str:
    curves = [curve for curve in panel.curves if curve.points]
    title = f'<text x="{MARGIN}" y="18">{escape(panel.title)}</text>'
    if not curves:
        return title
    points = [point for curve in curves for point in curve.points]
    across = _Axis.around([x for x, _ in points], MARGIN, WIDTH - MARGIN)
    up = _Axis.around([y for _, y in points], HEIGHT - MARGIN, MARGIN)
    parts = [title, _frame(across, up)]
    for number, curve in enumerate(curves):
        color = COLORS[number % len(COLORS)]
        parts.append(_line(curve, color, across, up))
        x = MARGIN + 160 + 180 * number
        name = escape(curve.name)
        parts.append(f'<text x="{x}" y="18" fill="{color}">{name}</text>')
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values `low` to `high` lie at the pixels `first` to `last`."""

    low: float
    high: float
    first: float
    last: float

    @classmethod
    def around(cls, values: Sequence[float], first: float, last: float) -> "_Axis":
        low, high = min(values), max(values)
        if high <= low:  # a single value lies in the middle
            low, high = low - 0.5, high + 0.5
        return cls(low, high, first, last)

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)

    def ticks(self) -> list[float]:
        step = (self.high - self.low) / TICKS
        return [self.low + step * number for number in range(TICKS + 1)]


def _frame(across: _Axis, up: _Axis) -> str:
    parts = []
    for value in up.ticks():
        y = up.place(value)
        parts.append(
            f'<line x1="{across.first}" x2="{across.last}" y1="{y}" y2="{y}" '
            f'stroke="#dddddd"/><text x="{MARGIN - 4}" y="{y + 4}" '
            f'text-anchor="end">{value:.3g}</text>'
        )
    for value in across.ticks():
        parts.append(
            f'<text x="{across.place(value)}" y="{up.first + 16}" '
            f'text-anchor="middle">{value:.4g}</text>'
        )
    return "".join(parts)


def _line(curve: Curve, color: str, across: _Axis, up: _Axis) -> str:
    places = [(across.place(x), up.place(y)) for x, y in curve.points]
    if len(places) == 1:
        (x, y) = places[0]
        return f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>'
    joined = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline points="{joined}" fill="none" stroke="{color}"/>'
