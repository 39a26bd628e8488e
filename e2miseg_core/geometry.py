"""Where voxels lie: grid shape, affine, unit, and reorientation without resampling.

Indices, shapes and spacings are in the order Z, Y, X. An affine maps (z, y, x, 1) to
RAS+ world coordinates: the first world axis grows towards the right, the second
towards anterior, the third towards superior.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2miseg_core.errors import GeometryError

__all__ = [
    "AxisTransform",
    "Geometry",
    "canonical_transform",
    "orientation_in_words",
]

UNIT_IN_MM = {"mm": 1.0, "um": 1e-3, "nm": 1e-6}

# World axis (0 R, 1 A, 2 S) and sense in which each canonical axis grows: S, P, L.
_CANONICAL = ((2, 1), (1, -1), (0, -1))
_LETTERS = ("RL", "AP", "SI")
_JSON_KEYS = {"version", "shape", "affine", "unit"}
_JSON_VERSION = 1

_LARGEST_SIZE = 1 << 53  # whole numbers that a float holds
_SPACINGS = (1e-12, 1e12)  # beyond them squares and products run over
_FARTHEST = 1e12  # voxels from the origin: neighbours could not be told apart
_FLAT = 1e-6  # volume of the cell of three unit vectors that lie in a plane

# numpy and dask arrays share transpose and slicing, but no common base.
ArrayT = TypeVar("ArrayT", bound=Any)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """The grid of a volume in the world.

    Attributes
    ----------
    shape : tuple of int
        Voxels along Z, Y, X.
    affine : ndarray, shape (4, 4), float64
        Maps the index (z, y, x, 1) of a voxel's centre to RAS+ in `unit`; read-only.
    unit : str
        Of the world coordinates: "mm", "um" or "nm".

    Raises
    ------
    GeometryError
        If a size is below 1, or the affine is not finite or not invertible, has a
        spacing below 1e-12 or above 1e12, or an origin 1e12 voxels away.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    unit: str = "mm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        object.__setattr__(self, "affine", _checked_affine(self.affine))
        if not isinstance(self.unit, str) or self.unit not in UNIT_IN_MM:
            raise GeometryError(
                found=f"the unit of length {self.unit!r}",
                needed="one of " + ", ".join(UNIT_IN_MM),
                do="convert the affine first",
            )

    @classmethod
    def from_xyz(
        cls, shape_xyz: Sequence[int], affine_xyz: ArrayLike, unit: str = "mm"
    ) -> Self:
        """Build from a shape and an affine whose indices are in the order X, Y, Z.

        Parameters
        ----------
        shape_xyz : sequence of three int
            Voxels along X, Y, Z.
        affine_xyz : array_like, shape (4, 4)
            Maps (x, y, z, 1) to RAS+ in `unit`.
        unit : str
            "mm", "um" or "nm".
        """
        x, y, z = shape_xyz
        affine = np.asarray(affine_xyz, dtype=np.float64)
        if affine.shape != (4, 4):
            raise _affine_error(found=f"an affine of shape {affine.shape}")
        return cls(shape=(z, y, x), affine=affine[:, [2, 1, 0, 3]], unit=unit)

    @classmethod
    def from_spacing(
        cls, shape: Sequence[int], spacing: Sequence[float], unit: str = "mm"
    ) -> Self:
        """Build the canonical grid (axes grow to S, P, L) with its origin at 0.

        Parameters
        ----------
        shape : sequence of three int
            Voxels along Z, Y, X.
        spacing : sequence of three float
            Distance of voxel centres along Z, Y, X, in `unit`.
        unit : str
            "mm", "um" or "nm".
        """
        affine = np.diag([0.0, 0.0, 0.0, 1.0])
        for axis, (world_axis, sense) in enumerate(_CANONICAL):
            affine[world_axis, axis] = sense * spacing[axis]
        z, y, x = shape
        return cls(shape=(z, y, x), affine=affine, unit=unit)

    @property
    def affine_xyz(self) -> NDArray[np.float64]:
        """The affine (4, 4) for indices in the order (x, y, z, 1)."""
        return self.affine[:, [2, 1, 0, 3]]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along Z, Y, X, in `unit`."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        size = abs(float(np.linalg.det(self.affine[:3, :3])))
        return size * UNIT_IN_MM[self.unit] ** 3 / 1000

    @property
    def orientation(self) -> str:
        """For each axis the letter of R L A P S I towards which it grows."""
        transform = canonical_transform(self)
        letters = [""] * 3
        for axis, (world_axis, sense) in enumerate(_CANONICAL):
            towards = -sense if transform.flips[axis] else sense
            letter = _LETTERS[world_axis][0 if towards > 0 else 1]
            letters[transform.permutation[axis]] = letter
        return "".join(letters)

    @property
    def is_oblique(self) -> bool:
        """Whether an axis leaves its world axis by more than 1e-4 rad."""
        directions = np.abs(self.affine[:3, :3]) / np.asarray(self.spacing)
        largest = directions.max(axis=0)
        return bool(np.any(directions.sum(axis=0) - largest > 1e-4))

    @property
    def shear(self) -> float:
        """Degrees by which the axes leave right angles with each other, at most."""
        directions = self.affine[:3, :3] / np.asarray(self.spacing)
        cosines = np.abs(directions.T @ directions)[np.triu_indices(3, k=1)]
        return float(np.degrees(np.arcsin(min(1.0, cosines.max()))))

    def world(self, index: ArrayLike) -> NDArray[np.float64]:
        """RAS+ coordinates (..., 3), in `unit`, of voxel indices.

        Parameters
        ----------
        index : array_like, shape (..., 3)
            Indices (z, y, x); fractions are allowed.
        """
        points = np.asarray(index, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def voxel(self, world: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices (z, y, x), as fractions, of world coordinates.

        Parameters
        ----------
        world : array_like, shape (..., 3)
            RAS+ coordinates in `unit`.
        """
        offsets = np.asarray(world, dtype=np.float64) - self.affine[:3, 3]
        return offsets @ np.linalg.inv(self.affine[:3, :3]).T

    def corners(self) -> NDArray[np.float64]:
        """World coordinates, shape (8, 3), of the centres of the corner voxels."""
        ends = [(0, size - 1) for size in self.shape]
        return self.world(np.array(list(itertools.product(*ends))))

    def matches(
        self, other: "Geometry", tolerance: float = 1e-6, voxels: float = 1e-3
    ) -> bool:
        """Whether two grids have the same shape and lie in the same place.

        Parameters
        ----------
        other : Geometry
            In any unit.
        tolerance : float
            Largest difference of any corner, as a fraction of the largest coordinate
            (formats with float32 affines hold no more), and of any axis.
        voxels : float
            Largest difference of any corner in voxels, of the smallest spacing: far
            from the origin the first limit alone would let a grid be shifted.
        """
        if self.shape != other.shape:
            return False
        other = other.in_unit(self.unit)
        mine, theirs = self.corners(), other.corners()
        largest = max(*self.spacing, *other.spacing)
        reach = max(largest, float(np.abs(mine).max()), float(np.abs(theirs).max()))
        farthest = float(np.abs(mine - theirs).max())
        axes = float(np.abs(self.affine - other.affine)[:3, :3].max())
        smallest = min(*self.spacing, *other.spacing)
        limit = min(tolerance * reach, voxels * smallest * (1 + 1e-9))
        return farthest <= limit and axes <= tolerance * largest

    def in_unit(self, unit: str) -> "Geometry":
        """Return the same grid with its world coordinates in another unit."""
        if unit == self.unit:
            return self
        same = Geometry(shape=self.shape, affine=self.affine, unit=unit)  # checks unit
        factor = UNIT_IN_MM[self.unit] / UNIT_IN_MM[unit]
        affine = same.affine * [[factor], [factor], [factor], [1.0]]
        return Geometry(shape=self.shape, affine=affine, unit=unit)

    def resampled(self, spacing: Sequence[float]) -> "Geometry":
        """Return a grid over the same field of view, with about the given spacing.

        The outer edges of the outermost voxels stay where they are, so the spacing is
        the wanted one only where it divides the extent: along each axis the shape is
        max(1, round(shape * old / new)) and the spacing shape * old / new shape.

        Parameters
        ----------
        spacing : sequence of three float
            Wanted distance of voxel centres along Z, Y, X, in `unit`.
        """
        wanted = np.asarray(spacing, dtype=np.float64)
        if wanted.shape != (3,) or not np.all(np.isfinite(wanted) & (wanted > 0)):
            raise GeometryError(
                found=f"a target spacing of {tuple(spacing)}",
                needed="three finite numbers above 0 (Z, Y, X)",
                do="correct the spacing",
            )
        sizes = np.asarray(self.shape) * np.asarray(self.spacing) / wanted
        z, y, x = (max(1, round(float(size))) for size in sizes)
        factor = np.asarray(self.shape) / np.array([z, y, x])
        affine = self.affine.copy()
        affine[:3, :3] *= factor
        affine[:3, 3] = self.world((factor - 1) / 2)
        return Geometry(shape=(z, y, x), affine=affine, unit=self.unit)

    def to_json(self) -> dict[str, Any]:
        """Return a mapping of JSON values from which `from_json` restores the grid."""
        return {
            "version": _JSON_VERSION,
            "shape": list(self.shape),
            "affine": self.affine.tolist(),
            "unit": self.unit,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Restore what `to_json` returned.

        Raises
        ------
        GeometryError
            If keys are missing or unknown, or the version is a later one.
        """
        is_known = isinstance(stored, Mapping) and set(stored) == _JSON_KEYS
        if not is_known or stored["version"] != _JSON_VERSION:
            raise GeometryError(
                found=f"a stored geometry with {stored!r:.200}",
                needed=f"version {_JSON_VERSION} with {', '.join(sorted(_JSON_KEYS))}",
                do="write the file again with this version of the program",
            )
        return cls(**{key: stored[key] for key in ("shape", "affine", "unit")})


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTransform:
    """Axes permuted, then flipped: a view of the same voxels, never resampled.

    Attributes
    ----------
    permutation : tuple of int
        Axis i of the result is axis `permutation[i]` of the input.
    flips : tuple of bool
        Whether axis i of the result runs backwards.
    """

    permutation: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def __post_init__(self) -> None:
        if sorted(self.permutation) != [0, 1, 2] or len(self.flips) != 3:
            raise GeometryError(
                found=f"permutation {self.permutation} with flips {self.flips}",
                needed="each of the axes 0, 1, 2 once, and three flips",
                do="correct the axes",
            )

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.permutation == (0, 1, 2) and not any(self.flips)

    def apply(self, array: ArrayT) -> ArrayT:
        """Return a view of an array (..., Z, Y, X), of numpy or dask.

        Raises
        ------
        GeometryError
            If the array has fewer than three axes.
        """
        if array.ndim < 3:
            found = f"an array of shape {tuple(array.shape)}"
            raise GeometryError(
                found=found, needed="at least the axes Z, Y, X", do="add those missing"
            )
        if self.is_identity:
            return array
        lead = array.ndim - 3
        axes = (*range(lead), *(lead + axis for axis in self.permutation))
        flips = (slice(None, None, -1 if flip else None) for flip in self.flips)
        turned: ArrayT = array.transpose(axes)[(..., *flips)]
        return turned

    def apply_shape(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the shape (Z, Y, X) of the result for an input's."""
        z, y, x = (int(shape[axis]) for axis in self.permutation)
        return z, y, x

    def apply_geometry(self, geometry: Geometry) -> Geometry:
        """Return the grid of the result, whose voxels stay where they are."""
        columns = geometry.affine[:3, list(self.permutation)]
        shape = self.apply_shape(geometry.shape)
        affine = geometry.affine.copy()
        for axis, flip in enumerate(self.flips):
            if flip:
                affine[:3, 3] += columns[:, axis] * (shape[axis] - 1)
                columns[:, axis] *= -1
        affine[:3, :3] = columns
        return Geometry(shape=shape, affine=affine, unit=geometry.unit)

    def inverse(self) -> "AxisTransform":
        """Return the transform that undoes this one exactly."""
        permutation, flips = [0, 0, 0], [False, False, False]
        for axis, source in enumerate(self.permutation):
            permutation[source] = axis
            flips[source] = self.flips[axis]
        return AxisTransform(
            permutation=(permutation[0], permutation[1], permutation[2]),
            flips=(flips[0], flips[1], flips[2]),
        )


def canonical_transform(geometry: Geometry) -> AxisTransform:
    """Find the transform nearest to Z to superior, Y to posterior, X to left.

    Parameters
    ----------
    geometry : Geometry
        Of any orientation, oblique and sheared ones included.

    Returns
    -------
    AxisTransform
        Of the 48 possible ones, that with the largest sum of cosines between axes and
        their goals; where two are equal, the one that permutes less.
    """
    directions = geometry.affine[:3, :3] / np.asarray(geometry.spacing)
    # The nearest rotation: a sheared axis must not take another one's place.
    left, _, right = np.linalg.svd(directions)
    cosines = left @ right  # (world axis, array axis)
    best, best_sum = (0, 1, 2), -1.0
    for first, second, third in itertools.permutations(range(3)):
        columns = (first, second, third)
        total = sum(
            abs(float(cosines[world_axis, column]))
            for (world_axis, _), column in zip(_CANONICAL, columns, strict=True)
        )
        if total > best_sum + 1e-9:  # rounding must not decide a tie
            best, best_sum = columns, total
    z, y, x = (
        bool(cosines[world_axis, column] * sense < 0)
        for (world_axis, sense), column in zip(_CANONICAL, best, strict=True)
    )
    return AxisTransform(permutation=best, flips=(z, y, x))


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    try:
        stated = tuple(shape)
        sizes = tuple(int(size) for size in stated)
        is_usable = len(sizes) == 3 and sizes == stated
    except (TypeError, ValueError, OverflowError):  # nothing to count, NaN, infinity
        is_usable = False
    if not is_usable or min(sizes) < 1 or max(sizes) > _LARGEST_SIZE:
        raise GeometryError(
            found=f"a grid of shape {shape!r:.200}",
            needed="three sizes of at least 1 (Z, Y, X)",
            do="check the image's dimensions",
        )
    return sizes[0], sizes[1], sizes[2]


def _checked_affine(affine: ArrayLike) -> NDArray[np.float64]:
    try:
        checked = np.array(affine, dtype=np.float64)  # a copy, so that it can be locked
    except (TypeError, ValueError, OverflowError) as error:
        raise _affine_error(found=f"the affine {affine!r:.200}") from error
    if checked.shape != (4, 4):
        raise _affine_error(found=f"an affine of shape {checked.shape}")
    if not np.all(np.isfinite(checked)):
        raise _affine_error(found=f"the affine {checked.tolist()}")
    if np.any(checked[3] != (0, 0, 0, 1)):
        raise _affine_error(found=f"an affine whose last row is {checked[3].tolist()}")
    lowest, highest = _SPACINGS
    largest = np.abs(checked[:3, :3]).max(axis=0)  # squares of more would run over
    if np.any(largest > highest) or np.any(largest < lowest):
        raise _affine_error(found=f"axes of the lengths {largest.tolist()} (spacing)")
    lengths = np.linalg.norm(checked[:3, :3], axis=0)
    if abs(float(np.linalg.det(checked[:3, :3] / lengths))) < _FLAT:
        raise _affine_error(found=f"a singular affine {checked.tolist()}")
    if np.abs(checked[:3, 3]).max() > _FARTHEST * lengths.max():
        raise _affine_error(found=f"an origin at {checked[:3, 3].tolist()}")
    checked.flags.writeable = False
    return checked


def _affine_error(*, found: str) -> GeometryError:
    return GeometryError(
        found=found,
        needed="a finite, invertible (4, 4) affine with last row 0 0 0 1, "
        "spacings from 1e-12 to 1e12 and an origin within 1e12 voxels",
        do="correct the image's header",
    )


def orientation_in_words(shown: str, stored: str) -> str:
    """Return "axes SPL as shown, SAL on disk", or "axes SPL" where they agree.

    Parameters
    ----------
    shown, stored : str
        Letters of the directions towards which Z, Y, X grow, see
        `Geometry.orientation`.
    """
    if shown == stored:
        return f"axes {shown}"
    return f"axes {shown} as shown, {stored} on disk"
