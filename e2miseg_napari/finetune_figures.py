"""The figures behind a fine-tuning's verdict, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FigureRow", "figure_rows", "way_in_words"]


def way_in_words(figures: Mapping[str, Any]) -> str:
    """Why the figures are not where the curve ends, if they are not."""
    share = figures.get("share")
    if not isinstance(share, int | float) or share >= 1:
        return ""
    return (
        f"Tested {100 * share:.0f} % of the way from the old model to the one that the "
        "curve shows: ◆"
    )


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A figure behind a verdict, and whether it alone forbids to keep the model."""

    name: str
    value: str
    failed: bool = False


def figure_rows(figures: Mapping[str, Any]) -> list[FigureRow]:
    """The figures behind a verdict that everybody can read."""
    rows = [make(figures) for make in (_wrong, _sure, _changed, _dice)]
    return [row for row in rows if row is not None]


def _numbers(figures: Mapping[str, Any], *keys: str) -> list[float] | None:
    values = [figures.get(key) for key in keys]
    found = [value for value in values if isinstance(value, int | float)]
    return found if len(found) == len(values) else None


def _wrong(figures: Mapping[str, Any]) -> FigureRow | None:
    if (found := _numbers(figures, "wrong_before", "wrong_after")) is None:
        return None
    before, after = found
    value = f"{before:,.0f} → {after:,.0f}"
    allowed = _numbers(figures, "wrong_allowed")
    failed = allowed is not None and after > allowed[0]
    if allowed is not None and failed:
        value += f", needed {allowed[0]:,.0f}"
    return FigureRow("Wrong voxels, held out", value, failed)


def _sure(figures: Mapping[str, Any]) -> FigureRow | None:
    if (found := _numbers(figures, "better_share")) is None:
        return None
    needed = _numbers(figures, "better_needed")
    if needed is None:  # a verdict of before did not tell
        return FigureRow("Sure that it is better", f"{100 * found[0]:.0f} %")
    value = f"{100 * found[0]:.0f} %, needed {100 * needed[0]:.0f} %"
    return FigureRow("Sure that it is better", value, found[0] < needed[0])


def _changed(figures: Mapping[str, Any]) -> FigureRow | None:
    if (found := _numbers(figures, "changed", "confident")) is None:
        return None
    part, whole = found
    value = f"{100 * part / whole:.2f} %" if whole else "none"
    allowed = _numbers(figures, "changed_allowed")
    failed = allowed is not None and part > allowed[0]
    if allowed is not None and failed and whole:
        value += f", allowed {100 * allowed[0] / whole:.2f} %"
    return FigureRow("Confident labels changed", value, failed)


def _dice(figures: Mapping[str, Any]) -> FigureRow | None:
    if (found := _numbers(figures, "replay_dice_before", "replay_dice_after")) is None:
        return None
    return FigureRow("Dice on earlier cases", f"{found[0]:.3f} → {found[1]:.3f}")
