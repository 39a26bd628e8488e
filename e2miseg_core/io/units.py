"""Units of length, as files name them."""

from collections.abc import Sequence

__all__ = ["common_unit", "known_unit"]

_NAMES = {
    "mm": ("meter metre m", 1e3),
    "um": ("micrometer micrometre um µm μm \\u00b5m micron microns", 1.0),
    "nm": ("nanometer nanometre nm", 1.0),
}
# The unit that a length is kept in, and the factor into it.
_UNITS = {
    **{
        name: (unit, factor)
        for unit, (names, factor) in _NAMES.items()
        for name in names.split()
    },
    **dict.fromkeys(("centimeter", "centimetre", "cm"), ("mm", 10.0)),
    **dict.fromkeys(("millimeter", "millimetre", "mm"), ("mm", 1.0)),
    **dict.fromkeys(("inch", "in"), ("mm", 25.4)),
    **dict.fromkeys(("angstrom", "å", "Å".lower()), ("nm", 0.1)),
}
_IN_COMMON = {"mm": 1.0, "um": 1e3, "nm": 1e6}


def known_unit(name: object) -> tuple[str, float] | None:
    """Unit that a length is kept in ("mm", "um" or "nm"), and the factor into it."""
    return _UNITS.get(str(name).strip().lower())


def common_unit(
    units: Sequence[object],
) -> tuple[str, list[float], tuple[str, ...]]:
    """Bring the axes of an image to one unit.

    Parameters
    ----------
    units : sequence
        Name of the unit of each axis, the last one's to be kept.

    Returns
    -------
    unit : str
        "mm", "um" or "nm"; "mm" if any unit is unknown.
    factors : list of float
        Into it, one an axis.
    notes : tuple of str
        What was assumed.
    """
    found = [unit for unit in map(known_unit, units) if unit is not None]
    if len(found) < len(units) or not found:
        names = sorted({str(unit) for unit in units})
        note = f"unit of length ({', '.join(names)}) taken as mm"
        return "mm", [1.0] * len(units), (note,)
    common = found[-1][0]
    factors = [factor * _IN_COMMON[common] / _IN_COMMON[unit] for unit, factor in found]
    return common, factors, ()
