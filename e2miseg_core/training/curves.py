"""The curves of a run as a picture: an SVG file that any browser shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from e2miseg_core.io.atomic import replacing

__all__ = ["Curve", "Panel", "write_curves"]

WIDTH, HEIGHT = 720, 240  # pixels of a panel
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 32, 44  # and around its axes
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # told apart by everybody
TICKS = 5  # at most so many steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line: points (x, y), and the name of what it shows."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Curves with common axes.

    Attributes
    ----------
    title : str
    curves : sequence of Curve
    within : (low, high), optional
        Range that the axis upwards never leaves, such as 0 to 1 of a Dice.
    """

    title: str
    curves: Sequence[Curve]
    within: tuple[float, float] = (-math.inf, math.inf)


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
        Panel(title="selection cases", curves=dice, within=(0.0, 1.0)),
        Panel(
            title="throughput",
            curves=[curve("samples_per_second", "patches per second")],
            within=(0.0, math.inf),
        ),
    ]


def write_curves(path: Path, panels: Sequence[Panel]) -> None:
    """Draw panels over the same epochs one below the other.

    What stood at `path` is replaced.
    """
    epochs = [x for p in panels for curve in p.curves for x, _ in curve.points]
    across = _epoch_axis(epochs or [1.0])
    drawn = [
        f'<g transform="translate(0 {number * HEIGHT})">{_panel(panel, across)}</g>'
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


def _panel(panel: Panel, across: "_Axis") -> str:
    curves = [curve for curve in panel.curves if curve.points]
    title = f'<text x="{LEFT}" y="18" font-weight="bold">{escape(panel.title)}</text>'
    if not curves:
        return title
    up = _value_axis([y for curve in curves for _, y in curve.points], panel.within)
    parts = [title, _frame(across, up)]
    for number, curve in enumerate(curves):
        color = COLORS[number % len(COLORS)]
        parts.append(_line(curve, color, across, up))
        x = LEFT + 160 + 180 * number
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
    step: float

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Multiples of the step within the axis, each with its text."""
        slack = 1e-9  # of a step, for what rounding leaves
        first = math.ceil(self.low / self.step - slack)
        last = math.floor(self.high / self.step + slack)
        decimals = max(0, -math.floor(math.log10(self.step) + slack))
        large = self.step >= 1e6 or decimals > 4
        return [
            (n * self.step, f"{n * self.step:{'.2g' if large else f'.{decimals}f'}}")
            for n in range(first, last + 1)
        ]


def _epoch_axis(epochs: Sequence[float]) -> _Axis:
    """Over all epochs, with ticks at whole ones."""
    low, high = min(epochs), max(epochs)
    step = max(1.0, _round_step(high - low))
    if high <= low:  # a single one lies in the middle
        low, high = low - 0.5, high + 0.5
    return _Axis(low, high, LEFT, WIDTH - RIGHT, step)


def _value_axis(values: Sequence[float], within: tuple[float, float]) -> _Axis:
    """Around all values, from tick to tick, but not beyond `within`."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):  # alike, but for rounding
        room = abs(low) / 10 or 0.5
        low, high = low - room, high + room
    low, high = max(low, within[0]), min(high, within[1])
    if high <= low:  # all at one end of the range
        low, high = (low, low + 0.1) if low == within[0] else (high - 0.1, high)
    step = _round_step(high - low)
    low = max(math.floor(low / step + 1e-9) * step, within[0])
    high = min(math.ceil(high / step - 1e-9) * step, within[1])
    return _Axis(low, high, HEIGHT - BOTTOM, TOP, step)


def _round_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, of which `TICKS` reach over the span."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    return next(
        n * power for n in (1, 2, 5, 10) if n * power * TICKS >= span * (1 - 1e-9)
    )


def _frame(across: _Axis, up: _Axis) -> str:
    parts = []
    for value, text in up.ticks():
        y = up.place(value)
        parts.append(
            f'<line x1="{across.first}" x2="{across.last}" y1="{y}" y2="{y}" '
            f'stroke="#dddddd"/><text class="value" x="{LEFT - 6}" y="{y + 4}" '
            f'text-anchor="end">{text}</text>'
        )
    for value, text in across.ticks():
        parts.append(
            f'<text class="epoch" x="{across.place(value)}" y="{up.first + 16}" '
            f'text-anchor="middle">{text}</text>'
        )
    middle = (across.first + across.last) / 2
    parts.append(
        f'<text x="{middle}" y="{up.first + 34}" text-anchor="middle">epoch</text>'
    )
    return "".join(parts)


def _line(curve: Curve, color: str, across: _Axis, up: _Axis) -> str:
    places = [(across.place(x), up.place(y)) for x, y in curve.points]
    if len(places) == 1:
        (x, y) = places[0]
        return f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>'
    joined = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline points="{joined}" fill="none" stroke="{color}"/>'
