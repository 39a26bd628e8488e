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
    attributes: Mapping[str, Any], n_axes: int
) -> tuple[tuple[float, float, float], str, tuple[str, ...]]:
    """Find the spacing along Z, Y, X that attributes declare.

    Parameters
    ----------
    attributes : mapping
        Of an array or the group above it.
    n_axes : int
        Of the array; a list with as many numbers has its last three taken.

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
        if numbers is None or len(numbers) not in (2, 3, n_axes) or len(numbers) < 2:
            continue
        named = next((attributes[k] for k in _UNIT_KEYS if k in attributes), None)
        units = _units(named, len(numbers)) or [usual] * len(numbers)
        unit, factors, notes = common_unit(units[-3:])
        sizes = [a * b for a, b in zip(numbers[-3:], factors, strict=True)]
        z, y, x = sizes if len(sizes) == 3 else (1.0, *sizes)
        stated = f"spacing {z:g} x {y:g} x {x:g} {unit} (Z, Y, X) from {key!r}"
        return (z, y, x), unit, (stated, *notes)
    return (1.0, 1.0, 1.0), "mm", ("no spacing is stated: voxels taken as 1 mm",)


def _numbers(value: Any) -> list[float] | None:
    """Sizes above 0, or None."""
    if value is None or isinstance(value, (str, bytes, Mapping)):
        return None
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    usable = np.all(np.isfinite(numbers)) and np.all(numbers > 0)
    return numbers.tolist() if numbers.ndim == 1 and usable else None


def _units(named: Any, count: int) -> list[str] | None:
    if isinstance(named, (str, bytes)):
        return [_text(named)] * count
    if isinstance(named, (Sequence, np.ndarray)) and len(named) >= count:
        return [_text(unit) for unit in named][-count:]
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
