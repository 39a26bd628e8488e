"""Moments of a series: counted from its first, named by what tells them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from e2miseg_core.io.dicom.frame_keys import MOMENTS, Key
from e2miseg_core.io.dicom.frames import Frame
from e2miseg_core.io.dicom.header import Header

__all__ = ["KEY_UNITS", "count_moments", "name_moments", "rank"]

# In the order of trust; the units are DICOM's.
KEY_UNITS = {
    "temporal position": "",
    "echo time": " ms",
    "inversion time": " ms",
    "flip angle": " degrees",
    "b-value": " s/mm2",
    "gradient": "",
    "image type": "",
    "echo": "",
    "trigger time": " ms",
    "frame time": " ms",
    "stack": "",
    "acquisition": "",
    "acquisition time": " s",
    "content time": " s",
}
_PARTS_OF_COMPLEX: Mapping[Key, str] = {
    **dict.fromkeys(("M", "MAGNITUDE", "M_FFE", "M_SE"), "magnitude"),
    **dict.fromkeys(("P", "PHASE", "P_FFE"), "phase"),
    **dict.fromkeys(("R", "REAL", "R_FFE"), "real part"),
    **dict.fromkeys(("I", "IMAGINARY", "I_FFE"), "imaginary part"),
}


def count_moments(group: Sequence[Header]) -> list[Header]:
    """Count the moments of a series from its first: dates are not kept."""
    first: dict[str, float] = {}
    for header in group:
        for frame in header.instance.frames:
            for name in MOMENTS & frame.keys.keys():
                moment = float(str(frame.keys[name]))
                first[name] = min(moment, first.get(name, moment))
    return [
        replace(
            header,
            instance=replace(
                header.instance,
                frames=tuple(
                    _relative(frame, first) for frame in header.instance.frames
                ),
            ),
        )
        for header in group
    ]


def _relative(frame: Frame, first: Mapping[str, float]) -> Frame:
    keys = dict(frame.keys)
    for name in MOMENTS & keys.keys():
        keys[name] = float(str(keys[name])) - first[name]
    return replace(frame, keys=keys)


def name_moments(
    names: Sequence[str], values: Sequence[tuple[Key, ...]]
) -> tuple[str, ...]:
    """Name each moment by the values that tell it apart."""
    parts: list[Mapping[Key, str]] = []
    for column, name in enumerate(names):
        found = sorted({value[column] for value in values}, key=lambda v: rank((v,)))
        parts.append({value: _label(name, value, found) for value in found})
    return tuple(
        ", ".join(part[item] for part, item in zip(parts, value, strict=True))
        for value in values
    )


def rank(values: tuple[Key, ...]) -> tuple[tuple[bool, Key], ...]:
    """Sort key for values of mixed kinds: numbers by size, before all others."""
    return tuple(
        (False, value) if isinstance(value, float) else (True, repr(value))
        for value in values
    )


def _label(name: str, value: Key, found: Sequence[Key]) -> str:
    if value == "":
        return f"no {name}"
    if isinstance(value, tuple) and name == "image type":
        own = [
            part for part in value if not all(_holds(other, part) for other in found)
        ]
        if len(own) == 1 and own[0] in _PARTS_OF_COMPLEX:
            return _PARTS_OF_COMPLEX[own[0]]
    if not isinstance(value, float):
        stated = [each for each in found if each != ""]
        return f"{name} {stated.index(value) + 1}"
    if name in MOMENTS and isinstance(found[0], float):
        return f"time +{value - found[0]:.6g} s"
    return f"{name} {value:.6g}{KEY_UNITS[name]}"


def _holds(value: Key, part: Key) -> bool:
    return isinstance(value, tuple) and part in value
