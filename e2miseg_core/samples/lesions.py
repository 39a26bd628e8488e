"""Lesions of a phantom: irregular, faint in places, and placed inside the body."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from e2miseg_core.samples.shapes import (
    Array,
    Ellipsoid,
    Waves,
    project,
    random_direction,
    random_rotation,
    smooth_minimum,
    smooth_step,
)

__all__ = [
    "Core",
    "Lesion",
    "draw_diameters",
    "draw_lesion",
    "place_centre",
    "with_core",
]

SMALLEST_MM, LARGEST_MM = 2.0, 40.0
_UNIT_REACH = 2.6  # a unit shape lies within this radius
_SMALLEST_RINGED_MM = 7.0  # below it the rims of both sides would meet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _UnitShape:
    """A union of ellipsoids with a wavy surface, about one unit in radius."""

    blobs: tuple[Ellipsoid, ...]
    waves: Waves
    waviness: float

    def __call__(self, points: Array) -> Array:
        union = smooth_minimum([blob(points) for blob in self.blobs], 0.25)
        return union + self.waviness * self.waves(points)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Core:
    """The dark inside of a lesion whose rim alone is bright, as of a necrotic tumour.

    Attributes
    ----------
    rim : float
        Mean thickness in mm of the bright rim around it.
    uneven : float
        By how many mm at most the rim is thicker here and thinner there.
    waves : Waves
        Where it is.
    value, edge : float
        Brightness, and width in mm over which it sets in.
    """

    rim: float
    uneven: float
    waves: Waves
    value: float
    edge: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesion:
    """One lesion.

    Attributes
    ----------
    centre : array, shape (3,)
        In mm (superior, posterior, left).
    diameter : float
        Diameter in mm of the ball of the same volume.
    scale : float
        Millimetres per unit of `shape`.
    shape : callable
        Field of the unit shape.
    value, edge : float
        Brightness, and width in mm over which it sets in.
    fade, halo : float
        How much of the contrast is lost towards `fade_direction` (1: all of it), and
        how bright it infiltrates the tissue beyond its border towards
        `halo_direction`.
    core : Core or None
        None where it is bright throughout. The truth is rim and core.
    """

    centre: Array
    diameter: float
    scale: float
    shape: Callable[[Array], Array]
    texture: Waves
    value: float
    edge: float
    fade: float
    fade_direction: Array
    halo: float
    halo_direction: Array
    core: Core | None = None

    @property
    def reach(self) -> float:
        """Radius in mm of a sphere around `centre` that holds lesion and halo."""
        return _UNIT_REACH * self.scale + 4.0 * self._halo_width

    @property
    def _halo_width(self) -> float:
        return 0.8 + 0.12 * self.scale

    def __call__(self, points: Array) -> Array:
        """Field in mm, negative where the truth is lesion."""
        return np.asarray(self.scale * self.shape(self._unit(points)))

    def opacity(self, points: Array) -> Array:
        """How much of the lesion's brightness shows, in [0, 1].

        It is unlike the truth on purpose: in places the contrast is gone before the
        border, in places the brightness goes on beyond it.
        """
        unit = self._unit(points)
        field = self.scale * self.shape(unit)
        inside = 1.0 / (1.0 + np.exp(np.clip(field / self.edge, -40.0, 40.0)))
        towards = project(self.fade_direction, unit)
        inside = inside * (1.0 - self.fade * smooth_step(towards, -0.1, 0.8))
        towards = project(self.halo_direction, unit)
        beyond = np.exp(-np.clip(field, 0.0, None) / self._halo_width)
        beyond = self.halo * beyond * smooth_step(towards, 0.1, 0.8)
        return np.asarray(np.maximum(inside, beyond))

    def brightness(self, points: Array) -> Array:
        """Brightness of the lesion where it is opaque; 1 is the brightest tissue."""
        texture = 1.0 + 0.07 * self.texture(points)
        if self.core is None:
            return np.asarray(self.value * texture)
        share = self.core_share(points)
        return np.asarray(
            (self.value + share * (self.core.value - self.value)) * texture
        )

    def core_share(self, points: Array) -> Array:
        """How much of a position is core, in [0, 1]; 0 without one."""
        if self.core is None:
            return np.zeros(points.shape[1:])
        depth = -self(points) - self.core.rim
        # Bounded, so that a rim is left everywhere.
        depth += self.core.uneven * np.tanh(self.core.waves(points))
        return smooth_step(depth, -self.core.edge / 2, self.core.edge / 2)

    def _unit(self, points: Array) -> Array:
        centre = self.centre.reshape((3,) + (1,) * (points.ndim - 1))
        return (points - centre) / self.scale


def draw_diameters(rng: np.random.Generator, count: int, largest: float) -> Array:
    """Draw lesion diameters, spread over the octaves with more of the small.

    Parameters
    ----------
    rng : Generator
    count : int
    largest : float
        In mm; the smallest is 2 mm.

    Returns
    -------
    array, shape (count,)
        In mm, largest first: the large ones must find their place first.
    """
    parts = (np.arange(count) + rng.uniform(0.0, 1.0, count)) / count
    low, high = np.log(SMALLEST_MM), np.log(min(LARGEST_MM, largest))
    return np.asarray(np.exp(low + parts**1.2 * (high - low))[::-1])


def draw_lesion(rng: np.random.Generator, centre: Array, diameter: float) -> Lesion:
    """Draw the shape and the look of one lesion."""
    shape = _draw_shape(rng, irregular=diameter > 4.0)
    centroid, radius = _measure(shape)
    scale = diameter / 2.0 / radius
    large = diameter > 6.0
    return Lesion(
        centre=centre - scale * centroid,
        diameter=diameter,
        scale=scale,
        shape=shape,
        texture=Waves.draw(rng, 9, 2.5, 12.0),
        value=rng.uniform(0.57, 0.72),
        edge=rng.uniform(0.2, 0.8),
        fade=rng.choice([0.0, rng.uniform(0.6, 1.0)], p=[0.35, 0.65]) * large,
        fade_direction=random_direction(rng),
        halo=rng.choice([0.0, rng.uniform(0.4, 0.8)], p=[0.4, 0.6]) * large,
        halo_direction=random_direction(rng),
    )


def with_core(rng: np.random.Generator, lesion: Lesion) -> Lesion:
    """Give a lesion a dark core where it is large enough for one; same shape and truth.

    Parameters
    ----------
    rng : Generator
    lesion : Lesion
    """
    if lesion.diameter < _SMALLEST_RINGED_MM:
        return lesion
    # Thick enough to be seen in voxels of 1 mm, thin enough to leave a core.
    rim = max(2.0, rng.uniform(0.3, 0.45) * lesion.scale)
    core = Core(
        rim=rim,
        uneven=0.3 * rim,
        waves=Waves.draw(rng, 8, 0.7 * lesion.scale, 2.0 * lesion.scale),
        value=rng.uniform(0.2, 0.34),
        edge=rng.uniform(0.6, 1.6),
    )
    return replace(lesion, core=core)


def _draw_shape(rng: np.random.Generator, *, irregular: bool) -> _UnitShape:
    blobs = [_draw_blob(rng, np.zeros(3), 0.75, 1.05)]
    for _ in range(int(rng.integers(1, 4)) if irregular else 0):
        centre = random_direction(rng) * rng.uniform(0.5, 0.9)
        blobs.append(_draw_blob(rng, centre, 0.4, 0.75))
    return _UnitShape(
        blobs=tuple(blobs),
        waves=Waves.draw(rng, 8, 0.7, 2.0),
        waviness=rng.uniform(0.03, 0.07) if irregular else 0.02,
    )


def _draw_blob(
    rng: np.random.Generator, centre: Array, low: float, high: float
) -> Ellipsoid:
    return Ellipsoid(
        centre=centre,
        radii=rng.uniform(low, high, 3),
        rotation=random_rotation(rng),
    )


def _measure(shape: _UnitShape) -> tuple[Array, float]:
    """Centroid (3,) of a unit shape, and the radius of the ball of its volume."""
    axis, step = np.linspace(-_UNIT_REACH, _UNIT_REACH, 64, retstep=True)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    inside = shape(points) < 0.0
    radius = float((inside.sum() * step**3 * 3.0 / (4.0 * np.pi)) ** (1 / 3))
    return points[:, inside].mean(axis=1), radius


def place_centre(
    rng: np.random.Generator,
    home: Callable[[Array], Array],
    extent: Array,
    taken: list[tuple[Array, float]],
    diameter: float,
) -> Array | None:
    """Find a centre well inside `home`, at most touching what is there.

    Parameters
    ----------
    rng : Generator
    home : callable
        Field of the tissue that holds the lesion.
    extent : array, shape (3,)
        Half of the field of view in mm.
    taken : list of (centre, diameter)
        Lesions placed before, in mm.
    diameter : float
        In mm.

    Returns
    -------
    array, shape (3,), or None
        None where there was no room.
    """
    half = np.maximum(extent - 0.6 * diameter - 2.0, 0.1 * extent)
    for _ in range(400):
        centre = rng.uniform(-half, half)
        if home(centre) > -0.3 * diameter - 1.0:
            continue
        near = (
            np.linalg.norm(centre - other) < 0.55 * (diameter + size) + 1.0
            for other, size in taken
        )
        if not any(near):
            return np.asarray(centre)
    return None
