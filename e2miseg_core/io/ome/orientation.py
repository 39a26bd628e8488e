"""Anatomical orientation of the axes of an OME-Zarr image, by RFC-4.

https://ngff.openmicroscopy.org/rfc/4/
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.geometry import Geometry

__all__ = ["Direction", "axis_orientation", "parse_directions", "signed_origin"]

# World axis (0 R, 1 A, 2 S), and 1 where the axis grows towards its positive end.
Direction = tuple[int, int]

_LETTERS: dict[str, tuple[str, Direction]] = {
    "R": ("left-to-right", (0, 1)),
    "L": ("right-to-left", (0, -1)),
    "A": ("posterior-to-anterior", (1, 1)),
    "P": ("anterior-to-posterior", (1, -1)),
    "S": ("inferior-to-superior", (2, 1)),
    "I": ("superior-to-inferior", (2, -1)),
}
_DIRECTIONS = dict(_LETTERS.values())


def axis_orientation(letter: str) -> dict[str, str]:
    """Return the entry of an axis that grows towards R, L, A, P, S or I."""
    return {"type": "anatomical", "value": _LETTERS[letter][0]}


def signed_origin(geometry: Geometry) -> NDArray[np.float64]:
    """Place of the first voxel along the axes Z, Y, X, in the sense of each."""
    directions = [_LETTERS[letter][1] for letter in geometry.orientation]
    return np.array([sense * geometry.affine[axis, 3] for axis, sense in directions])


def parse_directions(
    axes: Sequence[Mapping[str, Any]],
) -> tuple[Direction, Direction, Direction] | None:
    """Directions of the axes in space; None unless three state different ones.

    Words of the bodies of animals and of limbs have no place among R, A, S.
    """
    found = []
    for axis in axes:
        stated = axis.get("orientation")
        if not isinstance(stated, Mapping) or stated.get("type") != "anatomical":
            return None
        direction = _DIRECTIONS.get(str(stated.get("value")).lower())
        if direction is None:
            return None
        found.append(direction)
    if len(found) != 3 or len({axis for axis, _ in found}) != 3:
        return None
    return found[0], found[1], found[2]
