"""How two grids lie on each other."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.geometry import Geometry

__all__ = ["SNAP", "GridRelation", "relate", "snapped"]

SNAP = 2.0**20  # parts of a voxel: less is rounding, and must not decide
_SAMPLES = 40  # along each axis, to tell how much of a grid is covered
_FINER = 0.99  # of the target's spacing


@dataclass(frozen=True, kw_only=True)
class GridRelation:
    """How one grid lies on another.

    Attributes
    ----------
    is_same : bool
        Whether nothing needs to be resampled.
    covered : float
        Share of the target's voxels that the source's field of view covers.
    shift : float
        Largest distance between corresponding corners of the fields of view, in the
        unit of the target.
    is_finer : bool
        Whether the source has smaller voxels along an axis.
    overlaps : bool
        Whether the fields of view share anything.
    """

    is_same: bool
    covered: float
    shift: float
    is_finer: bool
    overlaps: bool


def relate(source: Geometry, target: Geometry) -> GridRelation:
    """Compare two grids in canonical orientation.

    Parameters
    ----------
    source, target : Geometry
        In any units.
    """
    source = source.in_unit(target.unit)
    inside = _covered(source, target)
    corners = zip(_outer_corners(source), _outer_corners(target), strict=True)
    steps = zip(source.spacing, target.spacing, strict=True)
    return GridRelation(
        is_same=source.matches(target),
        covered=inside,
        shift=max(float(np.linalg.norm(one - other)) for one, other in corners),
        is_finer=any(fine < _FINER * coarse for fine, coarse in steps),
        overlaps=inside > 0 or _covered(target, source) > 0,
    )


def _outer_corners(geometry: Geometry) -> NDArray[np.float64]:
    ends = [(-0.5, size - 0.5) for size in geometry.shape]
    return geometry.world(np.array(list(itertools.product(*ends))))


def _covered(source: Geometry, target: Geometry) -> float:
    """Share of target voxels whose centres lie in the source, by a lattice."""
    along = [
        np.unique(np.linspace(0, size - 1, min(size, _SAMPLES)).round())
        for size in target.shape
    ]
    index = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1)
    places = snapped(source.voxel(target.world(index)))
    inside = (places >= -0.5) & (places <= np.array(source.shape) - 0.5)
    return float(np.mean(inside.all(axis=-1)))


def snapped(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round voxel indices so far that rounding of affines decides nothing."""
    snapped: NDArray[np.float64] = np.rint(places * SNAP) / SNAP
    return snapped
