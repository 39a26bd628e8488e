"""Spacing of arrays whose format knows nothing of space, from attributes in use."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from e2miseg_core.io.units import common_unit

__all__ = ["SPACING_KEYS", "declared_spacing"]

# Key, and its unit where no attribute names one: ilastik and BigDataViewer write
# micrometres, the EM tools (funlib, daisy, CellMap) nanometres, ITK millimetres.
_KEYS = {
    "element_size_um": "um",
    "voxel_size_um": "um",
    "resolution": "nm",
    "voxel_size": "nm",
    "spacing": "mm",
    "pixdim": "mm",
    "scale": "mm",
}
SPACING_KEYS = tuple(_KEYS)
_UNIT_KEYS = ("units", "unit")


def declared_spacing(
    attributes: Mapping[str, Any], axes: Sequence[str]
) -> tuple[tuple[float, float, float], str, tuple[str, ...]]:
    """Find the spacing along Z, Y, X that attributes declare.

    Parameters
    ----------
    attributes : mapping
        Of an array or the group above it.
    axes : sequence of str
        Letter of each axis of the array, in its order. A list with as many numbers is
        in the same order; others are of Z, Y, X or of Y, X.

    Returns
    -------
    spacing : tuple of three float
        In `unit`; 1 where nothing usable is declared.
    unit : str
        "mm", "um" or "nm".
    notes : tuple of str
        Which attribute was taken, or that there was none.
    """
    for key, usual in _KEYS.items():
        numbers = _numbers(attributes.get(key))
        letters = _letters(axes, 0 if numbers is None else len(numbers))
        if numbers is None or not letters:
            continue
        named = next((attributes[k] for k in _UNIT_KEYS if k in attributes), None)
        units = _units(named, len(numbers)) or [usual] * len(numbers)
        order = [letters.index(axis) for axis in "zyx" if axis in letters]
        sizes = [numbers[index] for index in order]
        if not all(np.isfinite(size) and size > 0 for size in sizes):
            continue
        unit, factors, notes = common_unit([units[index] for index in order])
        sizes = [a * b for a, b in zip(sizes, factors, strict=True)]
        z, y, x = sizes if len(sizes) == 3 else (1.0, *sizes)
        stated = f"spacing {z:g} x {y:g} x {x:g} {unit} (Z, Y, X) from {key!r}"
        if letters != "zyx"[-len(letters) :]:
            stated += f", its numbers along {', '.join(letters)}"
        return (z, y, x), unit, (stated, *notes)
    return (1.0, 1.0, 1.0), "mm", ("no spacing is stated: voxels taken as 1 mm",)


def _letters(axes: Sequence[str], count: int) -> str:
    """Axes that so many numbers are along; empty where that cannot be told."""
    if count == len(axes):
        return "".join(axes)
    return {3: "zyx", 2: "yx"}.get(count, "")


def _numbers(value: Any) -> list[float] | None:
    """Return a list of numbers, or None."""
    if value is None or isinstance(value, (str, bytes, Mapping)):
        return None
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return numbers.tolist() if numbers.ndim == 1 else None


def _units(named: Any, count: int) -> list[str] | None:
    if isinstance(named, (str, bytes)):
        return [_text(named)] * count
    if isinstance(named, (Sequence, np.ndarray)) and len(named) >= count:
        return [_text(unit) for unit in named][-count:]
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
