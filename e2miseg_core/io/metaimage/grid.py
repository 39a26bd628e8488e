"""Where the grid of a MetaImage lies.

Rules
-----
* TransformMatrix (also called Orientation or Rotation) holds the direction of each axis
  in left-posterior-superior space, one axis after another; Offset (Origin, Position)
  is the centre of the first voxel. Without a matrix the axes are those of that space.
* AnatomicalOrientation repeats what the matrix says: its letters name the sides where
  the axes begin. Where it says something else, the matrix counts and a note tells.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.geometry import Geometry
from e2miseg_core.io.grid import resolve_grid
from e2miseg_core.io.metaimage.header import MetaHeader
from e2miseg_core.io.units import common_unit

__all__ = ["locate"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_OPPOSITE = str.maketrans("RLAPSI", "LRPAIS")


def locate(header: MetaHeader) -> tuple[Geometry, list[str], bool]:
    """Find where the grid lies.

    Returns
    -------
    Geometry
        On the stored axes, slowest first.
    list of str
        Rules that were applied.
    bool
        Whether the header says how the axes lie in the body.

    Raises
    ------
    ReadError, GeometryError
        If the header contradicts itself, or gives no usable grid.
    """
    notes: list[str] = []
    unit, factor = _unit(header, notes)
    n_dims = len(header.sizes)
    spacing = header.numbers(n_dims, "ElementSpacing", "ElementSize")
    if spacing is None:
        notes.append("no voxel size in the header: taken as 1")
        spacing = [1.0] * n_dims
    sizes = np.array([*spacing, 1.0][:3]) if n_dims == 2 else np.array(spacing[:3])
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ _directions(header) * sizes * factor
    origin = header.numbers(n_dims, "Offset", "Origin", "Position") or [0.0] * n_dims
    affine[:3, 3] = _LPS_TO_RAS @ np.array([*origin, 0.0][:3]) * factor
    x, y, *z = header.sizes[:3]
    geometry, rules, is_placed = resolve_grid(
        (*(z or [1]), y, x),
        [("TransformMatrix", affine[:, [2, 1, 0, 3]])],
        (sizes[::-1] * factor).tolist(),
        unit,
        place=str(header.path),
    )
    is_stated = _matrix(header) is not None
    return (
        geometry,
        [*notes, *rules, *_doubts(header, geometry)],
        is_stated and is_placed,
    )


def _directions(header: MetaHeader) -> NDArray[np.float64]:
    """Directions of X, Y, Z as columns."""
    n_dims = len(header.sizes)
    stored = _matrix(header)
    full = np.eye(max(3, n_dims))
    if stored is not None:
        full[:n_dims, :n_dims] = np.reshape(stored, (n_dims, n_dims)).T
    return full[:3, :3]


def _matrix(header: MetaHeader) -> Sequence[float] | None:
    names = ("TransformMatrix", "Orientation", "Rotation")
    return header.numbers(len(header.sizes) ** 2, *names)


def _unit(header: MetaHeader, notes: list[str]) -> tuple[str, float]:
    named = header.fields.get("DistanceUnits", "").strip('"')
    if named in ("", "?"):
        return "mm", 1.0
    unit, factors, assumed = common_unit([named])
    notes.extend(assumed)
    return unit, factors[0]


def _doubts(header: MetaHeader, geometry: Geometry) -> list[str]:
    letters = header.fields.get("AnatomicalOrientation", "").upper()
    if len(letters) != 3 or not set(letters) <= set("RLAPSI"):
        return []
    towards = letters.translate(_OPPOSITE)
    found = geometry.orientation[::-1]  # of X, Y, Z
    if found == towards or len(header.sizes) == 2:
        return []
    return [
        f"AnatomicalOrientation says axes from {letters}, the matrix from "
        f"{found.translate(_OPPOSITE)}: the matrix is used"
    ]
