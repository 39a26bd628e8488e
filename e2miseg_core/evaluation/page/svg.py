"""Plots as SVG text: axes with ticks, and marks at data coordinates."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["COLORS", "Axes", "color_of", "nice_range", "number"]

# Okabe and Ito's colours, which colour-blind people can tell apart; those first that
# show on dark images and on white paper.
COLORS = ("#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#0072b2", "#999999")
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 28, 40
_TICKS = 5


def color_of(index: int) -> str:
    """Colour of the structure at `index`."""
    return COLORS[index % len(COLORS)]


def number(value: float) -> str:
    """Write a number in a coordinate or a tick, without useless digits."""
    return f"{value:.6g}"


def nice_range(values: Iterable[float]) -> tuple[float, float]:
    """Range that holds some finite values with a little space; (0, 1) without any."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    space = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return low - space, high + space


def _tick_values(low: float, high: float) -> list[float]:
    """Return round numbers between two bounds."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


@dataclass(kw_only=True)
class Axes:
    """A plot under construction.

    Attributes
    ----------
    title, x_label, y_label : str
    x_range, y_range : tuple of float
    width, height : int
        Of the whole picture, in pixels.
    names : sequence of str, optional
        Instead of ticks along x: a name at 0, 1, 2, ...
    """

    title: str
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int = 420
    height: int = 320
    names: Sequence[str] | None = None
    marks: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Pixel of a value along x."""
        low, high = self.x_range
        share = (value - low) / (high - low)
        return _LEFT + share * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Pixel of a value along y, which grows upwards."""
        low, high = self.y_range
        share = (value - low) / (high - low)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def dot(self, x: float, y: float, color: str, *, tip: str = "") -> None:
        """Mark a point; `tip` shows where the mouse is on it."""
        self.marks.append(
            f'<circle cx="{number(self.x(x))}" cy="{number(self.y(y))}" r="3.2" '
            f'fill="{color}" fill-opacity="0.65"><title>{escape(tip)}</title></circle>'
        )

    def line(
        self,
        points: Sequence[tuple[float, float]],
        color: str,
        *,
        width: float = 1.5,
        dashed: bool = False,
    ) -> None:
        """Join points by straight lines."""
        places = " ".join(f"{number(self.x(x))},{number(self.y(y))}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.marks.append(
            f'<polyline points="{places}" fill="none" stroke="{color}" '
            f'stroke-width="{width}"{dash}/>'
        )

    def box(
        self, low: tuple[float, float], high: tuple[float, float], color: str
    ) -> None:
        """Outline a rectangle between two corners."""
        left, right = self.x(low[0]), self.x(high[0])
        top, bottom = self.y(high[1]), self.y(low[1])
        self.marks.append(
            f'<rect x="{number(left)}" y="{number(top)}" '
            f'width="{number(right - left)}" height="{number(bottom - top)}" '
            f'fill="{color}" fill-opacity="0.12" stroke="{color}"/>'
        )

    def render(self) -> str:
        """Give the plot as an `<svg>` element."""
        return (
            f'<svg class="plot" role="img" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}">'
            f"<title>{escape(self.title)}</title>"
            f"{self._frame()}{''.join(self.marks)}{self._texts()}</svg>"
        )

    def _frame(self) -> str:
        (left, right), (bottom, top) = self.x_range, self.y_range
        lines = [
            f'<line x1="{_LEFT}" x2="{self.width - _RIGHT}" '
            f'y1="{number(self.y(value))}" y2="{number(self.y(value))}"/>'
            for value in _tick_values(bottom, top)
        ]
        if self.names is None:
            lines += [
                f'<line y1="{_TOP}" y2="{self.height - _BOTTOM}" '
                f'x1="{number(self.x(value))}" x2="{number(self.x(value))}"/>'
                for value in _tick_values(left, right)
            ]
        return f'<g class="grid">{"".join(lines)}</g>'

    def _texts(self) -> str:
        middle = (_LEFT + self.width - _RIGHT) / 2
        foot = self.height - _BOTTOM + 15
        if self.names is None:
            below = [(value, number(value)) for value in _tick_values(*self.x_range)]
        else:
            below = list(enumerate(self.names))
        texts = [_text(self.x(value), foot, name, "middle") for value, name in below]
        texts += [
            _text(_LEFT - 6, self.y(value) + 4, number(value), "end")
            for value in _tick_values(*self.y_range)
        ]
        texts.append(_text(middle, self.height - 6, self.x_label, "middle"))
        texts.append(_text(middle, 16, self.title, "middle", bold=True))
        half = (_TOP + self.height - _BOTTOM) / 2
        texts.append(
            f'<text transform="translate(13 {number(half)}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y_label)}</text>'
        )
        return "".join(texts)


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )
