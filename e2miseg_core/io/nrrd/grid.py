"""Which axes of an NRRD file are space, and where its grid lies.

Rules
-----
* An axis with a direction is one of space, one with the direction "none" is not;
  without directions the kinds tell, and without kinds the first three axes are space.
* The other axes become channels. They must all be faster or all be slower than space.
* Right-anterior-superior, left-posterior-superior and left-anterior-superior are taken
  at their word; any other space, or none, as left-posterior-superior, as ITK does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.geometry import Geometry
from e2miseg_core.io.grid import resolve_grid
from e2miseg_core.io.nrrd.header import NrrdHeader
from e2miseg_core.io.text_header import bad_header
from e2miseg_core.io.units import common_unit
from e2miseg_core.volume import default_channels

__all__ = ["NrrdAxes", "arrange_axes", "locate"]

_TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
_SHORT = {
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
    "lps": "left-posterior-superior",
}
_UNKNOWN_KINDS = ("???", "none")
_SPATIAL_KINDS = ("domain", "space")
_COLORS = ("red", "green", "blue", "alpha")
_KIND_WORDS = {"time": "frames", "list": "values a voxel"}


@dataclass(frozen=True, kw_only=True)
class NrrdAxes:
    """Roles of the axes.

    Attributes
    ----------
    spatial : tuple of int
        Two or three axes of space, the fastest first.
    shape : tuple of int
        (C, Z, Y, X) as stored.
    channels_last : bool
        Whether the channels of a voxel lie beside each other.
    channels : tuple of str
        Names.
    notes : tuple of str
        What became channels.
    """

    spatial: tuple[int, ...]
    shape: tuple[int, int, int, int]
    channels_last: bool
    channels: tuple[str, ...]
    notes: tuple[str, ...]


def arrange_axes(header: NrrdHeader) -> NrrdAxes:
    """Tell axes of space from others.

    Raises
    ------
    ReadError
        If there are not two or three axes of space, or others between them.
    """
    kinds = [kind.lower() for kind in header.words("kinds") or []]
    spatial = _spatial(header, kinds)
    others = [
        axis
        for axis, size in enumerate(header.sizes)
        if axis not in spatial and size > 1
    ]
    faster = [axis for axis in others if axis < spatial[0]]
    if len(faster) not in (0, len(others)) or any(
        spatial[0] < axis < spatial[-1] for axis in others
    ):
        raise bad_header(
            header.path,
            f"has other axes among those of space (sizes {header.sizes})",
            "all other axes before or after those of space",
        )
    n_channels = math.prod(header.sizes[axis] for axis in others)
    x, y, *z = (header.sizes[axis] for axis in spatial)
    notes: tuple[str, ...] = ()
    kind = kinds[others[0]] if kinds and others else ""
    if n_channels > 1:
        words = _KIND_WORDS.get(kind, "frames" if not faster else "values a voxel")
        notes = (f"{len(header.sizes)}D: {n_channels} {words} taken as channels",)
    colors = _COLORS[:n_channels] if kind in ("rgb-color", "rgba-color") else ()
    return NrrdAxes(
        spatial=spatial,
        shape=(n_channels, *(z or [1]), y, x),  # type: ignore[arg-type]
        channels_last=bool(faster),
        channels=colors if len(colors) == n_channels else default_channels(n_channels),
        notes=notes,
    )


def _spatial(header: NrrdHeader, kinds: Sequence[str]) -> tuple[int, ...]:
    n_axes = len(header.sizes)
    directions = header.vectors("space directions")
    if directions is not None:
        if len(directions) != n_axes:
            raise bad_header(
                header.path,
                f"has {len(directions)} space directions for {n_axes} axes",
                "one an axis",
            )
        axes = [a for a, direction in enumerate(directions) if direction is not None]
        if len(axes) == 4:  # space and time: ITK's 4D images have four directions
            axes.remove(max(axes, key=lambda axis: _along_time(directions[axis])))
    elif any(kind not in _UNKNOWN_KINDS for kind in kinds):
        axes = [a for a, kind in enumerate(kinds) if kind in _SPATIAL_KINDS]
    else:
        axes = list(range(min(n_axes, 3)))
    if len(axes) == 4:
        axes = axes[:3]
    if len(axes) not in (2, 3):
        raise bad_header(
            header.path,
            f"has {len(axes)} axes of space (sizes {header.sizes})",
            "two or three",
        )
    return tuple(axes)


def _along_time(direction: Sequence[float] | None) -> float:
    numbers = direction or [0.0]
    return abs(numbers[-1]) / (max(map(abs, numbers)) or 1.0)


def locate(header: NrrdHeader, axes: NrrdAxes) -> tuple[Geometry, list[str], bool]:
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
    signs, notes = _space(header)
    is_named = not notes and header.vectors("space directions") is not None
    columns, spacing, is_assumed = _columns(header, axes)
    if is_assumed:
        notes.append("no voxel size in the header: taken as 1")
    unit, factors = _units(header, axes, notes)
    affine = np.eye(4)
    origin = _origin(header, axes, columns)
    affine[:3, :3] = columns * np.array(signs)[:, None] * factors[:, None]
    affine[:3, 3] = origin * signs * factors
    sizes = None if spacing is None else (np.array(spacing) * factors)[::-1].tolist()
    geometry, rules, is_placed = resolve_grid(
        axes.shape[1:],
        [("the grid", affine[:, [2, 1, 0, 3]])],
        sizes,
        unit,
        place=str(header.path),
    )
    return geometry, [*notes, *rules], is_named and is_placed


def _space(header: NrrdHeader) -> tuple[tuple[int, int, int], list[str]]:
    name = header.field("space").lower().removesuffix("-time")
    name = name.removesuffix("t") if name[:-1] in _SHORT else name
    name = _SHORT.get(name, name)
    if name in _TO_RAS:
        return _TO_RAS[name], []
    told = f"space {name[:40]!r} does" if name else "the header does"
    note = f"{told} not name the body's axes: taken as left, posterior, superior"
    return _TO_RAS["left-posterior-superior"], [note]


def _columns(
    header: NrrdHeader, axes: NrrdAxes
) -> tuple[NDArray[np.float64], list[float] | None, bool]:
    """Steps along X, Y, Z in the header's space; its spacings; are steps assumed."""
    spacings = header.numbers("spacings")
    columns = np.zeros((3, 3))
    directions = header.vectors("space directions")
    sizes = None if spacings is None else [spacings[axis] for axis in axes.spatial]
    is_assumed = False
    if directions is not None:
        for column, axis in enumerate(axes.spatial):
            columns[:, column] = _in_space(header, directions[axis])
    else:
        is_assumed = sizes is None or any(map(math.isnan, sizes))
        for column in range(len(axes.spatial)):
            size = math.nan if sizes is None else sizes[column]
            columns[column, column] = 1.0 if math.isnan(size) else size
    if len(axes.spatial) == 2:
        # A plane has no third step: 1 at a right angle.
        normal = np.cross(columns[:, 0], columns[:, 1])
        length = float(np.linalg.norm(normal))
        columns[:, 2] = normal / length if 0 < length < math.inf else 0
    if sizes is not None and len(sizes) == 2:
        sizes = [*sizes, 1.0]
    if sizes is not None and any(map(math.isnan, sizes)):
        sizes = None
    return columns, sizes, is_assumed


def _in_space(header: NrrdHeader, vector: Sequence[float] | None) -> list[float]:
    """Complete a vector of two dimensions, cut one of four to space."""
    numbers = list(vector or ())
    if not 2 <= len(numbers) <= 4:
        raise bad_header(
            header.path,
            f"has a vector of {len(numbers)} numbers",
            "two, three or, with time, four",
        )
    return [*numbers, 0.0][:3]


def _origin(
    header: NrrdHeader, axes: NrrdAxes, columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    vectors = header.vectors("space origin")
    if vectors:
        origin = np.array(_in_space(header, vectors[0]))
        return np.where(np.isnan(origin), 0.0, origin)
    minima = header.numbers("axis mins", "axismins")
    if minima is None or header.fields.get("space directions"):
        return np.zeros(3)
    centerings = header.words("centerings", "centers") or ["cell"] * len(header.sizes)
    origin = np.zeros(3)
    for place, axis in enumerate(axes.spatial):
        if not math.isnan(minima[axis]):
            # The minimum is the edge of a cell, or the centre of a node.
            half = 0.0 if centerings[axis].lower() == "node" else 0.5
            origin[place] = minima[axis] + half * columns[place, place]
    return origin


def _units(
    header: NrrdHeader, axes: NrrdAxes, notes: list[str]
) -> tuple[str, NDArray[Any]]:
    named = header.field("space units")
    words = named.replace('"', " ").split() if named else []
    if not words and header.field("units"):
        along = header.words("units") or []
        words = [along[axis] for axis in axes.spatial if along[axis]]
    words = [word for word in words if word.lower() not in ("???", "none", "")]
    if len(words) < 2:
        return "mm", np.ones(3)
    unit, factors, assumed = common_unit((words * 2)[:3])
    notes.extend(assumed)
    return unit, np.array(factors)
