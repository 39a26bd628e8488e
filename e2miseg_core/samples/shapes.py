"""Shapes of a phantom, as fields of the position in mm.

A position array has shape (3, ...) and holds (superior, posterior, left) in mm, from
the middle of the body. A field is negative inside its shape and, near the surface,
close to the distance in mm, so that it does not depend on any voxel grid: one phantom
may be sampled at several spacings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Body",
    "Ellipsoid",
    "Tube",
    "Waves",
    "project",
    "random_direction",
    "random_rotation",
    "smooth_minimum",
    "smooth_step",
]

# float64 throughout: the sine of float32 differs between processors by enough to
# change a rounded voxel, and the bundled sample has to come out the same everywhere.
Array = NDArray[np.float64]


def project(direction: Array, points: Array) -> Array:
    """Scalar product of a vector (3,) with each position (3, ...).

    Written out, since a BLAS rounds as the machine likes it, and its threads get into
    each other's way on a busy one.
    """
    total = direction[0] * points[0]
    total += direction[1] * points[1]
    total += direction[2] * points[2]
    return np.asarray(total)


def smooth_step(values: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, with a continuous slope between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def smooth_minimum(fields: Sequence[Array], width: float) -> Array:
    """Union of fields whose seams are rounded over `width`."""
    union = fields[0]
    for field in fields[1:]:
        h = np.clip(0.5 + 0.5 * (union - field) / width, 0.0, 1.0)
        union = union + h * (field - union) - width * h * (1.0 - h)
    return union


def random_rotation(rng: np.random.Generator) -> Array:
    """Draw a rotation uniformly, as a matrix of shape (3, 3)."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return np.asarray(q)


def random_direction(rng: np.random.Generator) -> Array:
    """Draw a unit vector uniformly, shape (3,)."""
    vector = rng.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def _relative(points: Array, centre: Array) -> Array:
    return points - centre.reshape((3,) + (1,) * (points.ndim - 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ellipsoid:
    """An ellipsoid at any angle.

    Attributes
    ----------
    centre : array, shape (3,)
        In mm.
    radii : array, shape (3,)
        Semi-axes in mm.
    rotation : array, shape (3, 3)
        Its columns are the directions of the semi-axes.
    """

    centre: Array
    radii: Array
    rotation: Array

    def __call__(self, points: Array) -> Array:
        """Field in mm at positions of shape (3, ...), negative inside."""
        scaled = (self.rotation / self.radii).T  # (3, 3), rows are axes
        local = _relative(points, self.centre)
        rho = np.sqrt(sum(project(axis, local) ** 2 for axis in scaled))
        return np.asarray((rho - 1.0) * self.radii.min())

    @property
    def reach(self) -> float:
        """Radius in mm of a sphere around `centre` that holds the shape."""
        return float(self.radii.max())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tube:
    """A round tube along the superior axis that bends and tapers.

    Attributes
    ----------
    start, end : array, shape (3,)
        Ends in mm; they differ in the superior coordinate.
    bend : array, shape (3,)
        Sideways shift in mm halfway between the ends.
    radii : tuple of float
        Radius in mm at either end.
    """

    start: Array
    end: Array
    bend: Array
    radii: tuple[float, float]

    def __call__(self, points: Array) -> Array:
        """Field in mm at positions of shape (3, ...), negative inside."""
        length = self.end[0] - self.start[0]
        t = np.clip((points[0] - self.start[0]) / length, 0.0, 1.0)
        arc = 4.0 * t * (1.0 - t)
        squared = np.zeros_like(t)
        for axis in range(3):
            line = self.start[axis] + t * (self.end[axis] - self.start[axis])
            squared += (points[axis] - line - arc * self.bend[axis]) ** 2
        radius = self.radii[0] + t * (self.radii[1] - self.radii[0])
        return np.asarray(np.sqrt(squared) - radius)

    @property
    def centre(self) -> Array:
        """Middle of the tube in mm, shape (3,)."""
        return np.asarray((self.start + self.end) / 2.0 + self.bend / 2.0)

    @property
    def reach(self) -> float:
        """Radius in mm of a sphere around `centre` that holds the shape."""
        half = float(np.linalg.norm(self.end - self.start)) / 2.0
        return half + float(np.linalg.norm(self.bend)) + max(self.radii)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Body:
    """A lopsided trunk: narrower at the top, arched, fuller on its left.

    Attributes
    ----------
    radii : array, shape (3,)
        Semi-axes in mm (superior, posterior, left).
    taper, arch, lean : float
        Share by which it narrows upwards, bends backwards, and is fuller on its left.
    """

    radii: Array
    taper: float
    arch: float
    lean: float

    def __call__(self, points: Array) -> Array:
        """Field in mm at positions of shape (3, ...), negative inside."""
        s = points[0] / self.radii[0]
        width = 1.0 - self.taper * s
        p = (points[1] / self.radii[1] - self.arch * s * s) / width
        left = points[2] / self.radii[2]
        left = left / (width * (1.0 + self.lean * np.tanh(3.0 * left)))
        # A power of 2.5 is a little more square than an ellipse, as a trunk is.
        rho = sum(x * x * np.sqrt(np.abs(x)) for x in (s, p, left))
        return np.asarray((rho**0.4 - 1.0) * self.radii[1:].min())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waves:
    """A smooth random texture: a sum of plane waves, of mean 0 and variance 1.

    Attributes
    ----------
    vectors : array, shape (K, 3)
        Wave vectors in radians per mm.
    phases : array, shape (K,)
        In radians.
    """

    vectors: Array
    phases: Array

    @classmethod
    def draw(
        cls, rng: np.random.Generator, count: int, shortest: float, longest: float
    ) -> "Waves":
        """Draw `count` waves, their lengths between `shortest` and `longest` mm."""
        lengths = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
        directions = np.stack([random_direction(rng) for _ in range(count)])
        vectors = directions * (2.0 * np.pi / lengths)[:, None]
        return cls(vectors=vectors, phases=rng.uniform(0.0, 2.0 * np.pi, count))

    def __call__(self, points: Array) -> Array:
        """Value at positions of shape (3, ...)."""
        total = np.zeros(points.shape[1:])
        for vector, phase in zip(self.vectors, self.phases, strict=True):
            total += np.sin(project(vector, points) + phase)
        return np.asarray(total * np.sqrt(2.0 / len(self.phases)))
