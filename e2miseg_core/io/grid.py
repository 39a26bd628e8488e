"""The grid that a header announces: one set of rules for every format.

The first usable placement counts, then the spacing alone. What is passed over, assumed
or contradictory is told, with its numbers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2miseg_core.errors import GeometryError
from e2miseg_core.geometry import Geometry

__all__ = ["grid_of", "resolve_grid"]

_SHEAR_DEGREES = 0.05  # less is rounding of direction cosines in text headers
_VOXELS_APART = 1e-3  # less is rounding of single-precision numbers


@contextmanager
def grid_of(place: object) -> Iterator[None]:
    """Name the file in each GeometryError that is raised in this block.

    Parameters
    ----------
    place : Path or str
        As it may be shown.
    """
    try:
        yield
    except GeometryError as error:
        if str(place) in error.found:
            raise
        found = f"{place} has {error.found}"
        raise GeometryError(found=found, needed=error.needed, do=error.do) from error


def resolve_grid(
    shape: Sequence[int],
    placements: Sequence[tuple[str, ArrayLike]],
    spacing: Sequence[float] | None = None,
    unit: str = "mm",
    *,
    place: str,
) -> tuple[Geometry, list[str], bool]:
    """Find where a grid lies from what a header says of it.

    1. Placements are tried in their order. One that is not finite, singular, or has a
       spacing of 0 is passed over, with a note that names it.
    2. An axis of one voxel needs no spacing: a column of zeros is set at right angles
       to the two others, as long as `spacing` says, or 1.
    3. Without a usable placement, the axes are taken as right, anterior, superior with
       the header's spacing, and a note says so.
    4. Shear stays in the affine; above 0.05 degrees a note says so.
    5. Usable placements that lie more than 0.001 voxels apart are told, and so is a
       spacing that differs from the placement's by more than 0.1 %.

    Parameters
    ----------
    shape : sequence of three int
        Voxels along Z, Y, X.
    placements : sequence of (str, array_like of shape (4, 4))
        Name in the header, and affine from (z, y, x, 1) to RAS+ in `unit`; the one to
        be believed first.
    spacing : sequence of three float, optional
        Along Z, Y, X, where the header states it apart. Signs are dropped.
    unit : str
        "mm", "um" or "nm".
    place : str
        File, for messages.

    Returns
    -------
    Geometry
        On the stored axes.
    list of str
        Rules that were applied.
    bool
        Whether one of the placements was usable, or the axes are a guess.

    Raises
    ------
    GeometryError
        If neither a placement nor the spacing gives a usable grid.
    """
    notes: list[str] = []
    stated = None if spacing is None else np.abs(np.asarray(spacing, np.float64))
    usable: list[tuple[str, Geometry]] = []
    for name, affine in placements:
        try:
            completed = _completed(affine, shape, stated)
            usable.append(
                (name, Geometry(shape=_three(shape), affine=completed, unit=unit))
            )
        except GeometryError:
            notes.append(f"{name} {_numbers(affine)} is unusable and was passed over")
    if not usable:
        grid = _unplaced(shape, stated, unit, place, notes)
        notes.append(
            "no usable orientation in the header: axes taken as right, anterior, "
            "superior"
        )
        return grid, notes, False
    (name, grid), *others = usable
    for other_name, other in others:
        _note_distance(name, grid, other_name, other, notes)
    if not others and stated is not None:
        _note_spacing(name, grid, stated, notes)
    if grid.shear > _SHEAR_DEGREES:
        notes.append(
            f"axes leave right angles by up to {grid.shear:.3g} degrees: the shear is "
            "kept in the affine"
        )
    return grid, notes, True


def _three(shape: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = shape
    return z, y, x


def _completed(
    affine: ArrayLike, shape: Sequence[int], spacing: NDArray[np.float64] | None
) -> Any:
    """Give an axis of one voxel without a length a direction of its own."""
    full = np.array(affine, dtype=np.float64)
    if full.shape != (4, 4) or not np.all(np.isfinite(full)):
        return full  # Geometry tells what is wrong with it
    missing = [axis for axis in range(3) if not np.any(full[:3, axis])]
    if len(missing) != 1 or shape[missing[0]] != 1:
        return full
    axis = missing[0]
    first, second = (full[:3, (axis + step) % 3] for step in (1, 2))
    if max(np.abs(first).max(), np.abs(second).max()) > 1e100:
        return full
    normal = np.cross(first, second)
    length = float(np.linalg.norm(normal))
    size = 1.0
    if spacing is not None and np.isfinite(spacing[axis]) and spacing[axis] > 0:
        size = float(spacing[axis])
    full[:3, axis] = normal * (size / length) if length > 0 else 0
    return full


def _unplaced(
    shape: Sequence[int],
    spacing: NDArray[np.float64] | None,
    unit: str,
    place: str,
    notes: list[str],
) -> Geometry:
    if spacing is None:
        spacing = np.ones(3)
        notes.append(f"no usable spacing in the header: taken as 1 {unit}")
    sizes = [
        1.0 if size == 0 and count == 1 else float(size)
        for size, count in zip(spacing, shape, strict=True)
    ]
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], range(4)] = [*sizes, 1.0]
    try:
        return Geometry(shape=_three(shape), affine=affine, unit=unit)
    except GeometryError as error:
        raise GeometryError(
            found=f"{place} has neither a usable affine nor usable voxel sizes "
            f"({_product(spacing)} for Z, Y, X of {tuple(shape)} voxels)",
            needed="voxel sizes above 0",
            do="correct the file's header",
        ) from error


def _note_distance(
    name: str, grid: Geometry, other_name: str, other: Geometry, notes: list[str]
) -> None:
    apart = float(np.linalg.norm(grid.corners() - other.corners(), axis=1).max())
    voxels = apart / min(grid.spacing)
    if voxels > _VOXELS_APART:
        notes.append(
            f"{name} used; {other_name} lies up to {apart:.4g} {grid.unit} "
            f"({voxels:.3g} voxels) away"
        )


def _note_spacing(
    name: str, grid: Geometry, spacing: NDArray[np.float64], notes: list[str]
) -> None:
    if not np.allclose(spacing, grid.spacing, rtol=1e-3, atol=0):
        notes.append(
            f"{name} used, with voxels of {_product(grid.spacing)} {grid.unit}; "
            f"the header's voxel sizes say {_product(spacing)}"
        )


def _product(sizes: ArrayLike) -> str:
    return " x ".join(f"{size:.5g}" for size in np.asarray(sizes))


def _numbers(affine: ArrayLike) -> str:
    rows = np.asarray(affine, dtype=np.float64)
    if rows.ndim != 2:
        return str(rows.tolist())
    if rows.shape == (4, 4):
        rows = rows[:3]
    return "[" + "; ".join(" ".join(f"{n:.6g}" for n in row) for row in rows) + "]"
