"""The anatomy of a phantom, drawn from a seed, and how bright each part is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from e2miseg_core.samples.lesions import (
    Lesion,
    draw_diameters,
    draw_lesion,
    place_centre,
    with_core,
)
from e2miseg_core.samples.shapes import (
    Array,
    Body,
    Ellipsoid,
    Tube,
    Waves,
    random_direction,
    random_rotation,
    smooth_step,
)

__all__ = ["Anatomy", "Layer", "draw_anatomy"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One part, painted over those before it.

    Attributes
    ----------
    opacity : callable
        Of the position, in [0, 1].
    brightness : callable
        Of the position; 1 is the brightest tissue.
    centre, reach : array of shape (3,), float
        A ball in mm outside which the opacity is zero; `reach` may be infinite.
    """

    opacity: Callable[[Array], Array]
    brightness: Callable[[Array], Array]
    centre: Array
    reach: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anatomy:
    """What stands in the field of view, without any voxels yet.

    Attributes
    ----------
    layers : tuple of Layer
        From the back to the front.
    lesions : tuple of Lesion
        Largest first.
    """

    layers: tuple[Layer, ...]
    lesions: tuple[Lesion, ...]


def draw_anatomy(
    rng: np.random.Generator,
    extent: Array,
    n_lesions: int,
    largest: float,
    *,
    cores: np.random.Generator | None = None,
) -> Anatomy:
    """Draw body, organs, look-alikes and lesions.

    Parameters
    ----------
    rng : Generator
    extent : array, shape (3,)
        Half of the field of view in mm (superior, posterior, left).
    n_lesions : int
        Fewer where there is no room.
    largest : float
        Diameter in mm of the largest lesion.
    cores : Generator, optional
        Draws the dark cores of ringed lesions; without it all are bright throughout.
    """
    unit = extent[1:].min()
    body = _draw_body(rng, extent)
    organ = _draw_organ(rng, unit)
    layers = [
        *_draw_trunk(rng, body, unit),
        *_draw_organs(rng, organ, unit),
        *_draw_vessels(rng, extent, unit),
    ]
    lesions = _draw_lesions(rng, (body, organ), extent, n_lesions, largest)
    if cores is not None:
        lesions = [with_core(cores, lesion) for lesion in lesions]
    taken = [(lesion.centre, lesion.diameter) for lesion in lesions]
    layers += [
        *_draw_lookalikes(rng, organ, extent, taken),
        *(
            Layer(
                opacity=lesion.opacity,
                brightness=lesion.brightness,
                centre=lesion.centre,
                reach=lesion.reach,
            )
            for lesion in lesions
        ),
    ]
    return Anatomy(layers=tuple(layers), lesions=tuple(lesions))


def _sharp(field: Callable[[Array], Array], edge: float) -> Callable[[Array], Array]:
    """Opacity of a shape whose surface is `edge` mm wide."""
    return lambda points: 1.0 - smooth_step(field(points), -edge / 2, edge / 2)


def _textured(value: float, waves: Waves, share: float) -> Callable[[Array], Array]:
    return lambda points: np.asarray(value * (1.0 + share * waves(points)))


def _flat(value: float) -> Callable[[Array], Array]:
    return lambda points: np.full(points.shape[1:], value)


def _layer(
    shape: Ellipsoid | Tube, edge: float, brightness: Callable[[Array], Array]
) -> Layer:
    return Layer(
        opacity=_sharp(shape, edge),
        brightness=brightness,
        centre=shape.centre,
        reach=shape.reach + edge,
    )


def _draw_body(rng: np.random.Generator, extent: Array) -> Body:
    return Body(
        radii=extent * np.array([1.25, 0.84, 0.84]) * rng.uniform(0.97, 1.03, 3),
        taper=rng.uniform(0.10, 0.18),
        arch=rng.uniform(0.05, 0.12),
        lean=rng.uniform(0.05, 0.10),
    )


def _draw_trunk(rng: np.random.Generator, body: Body, unit: float) -> list[Layer]:
    """Draw fat, muscle, the spine and its canal."""
    fat = rng.uniform(0.08, 0.12) * unit

    fat_waves, muscle_waves = Waves.draw(rng, 5, 4, 20), Waves.draw(rng, 10, 4, 25)

    def trunk(points: Array) -> Array:
        field = body(points)
        # The fat is thickest in front.
        inner = field + fat * (1.0 - 0.5 * np.tanh(points[1] / (0.4 * unit)))
        value = 0.3 * (1.0 + 0.15 * muscle_waves(points))
        rim = inner > -0.4
        share = smooth_step(inner[rim], -0.4, 0.4)
        fatty = 0.78 * (1.0 + 0.06 * fat_waves(points[:, rim]))
        value[rim] += share * (fatty - value[rim])
        return np.asarray(value)

    aside = rng.uniform(-0.05, 0.05)
    # The spine leans forward upwards, where the trunk is narrower.
    low = np.array([-1.6, 0.52, aside]) * unit
    high = np.array([1.6, 0.36, aside]) * unit
    bend = np.array([0.0, -0.06, 0.08]) * unit
    behind = np.array([0.0, 0.2, 0.0]) * unit
    spine = Tube(start=low, end=high, bend=bend, radii=(0.2 * unit, 0.15 * unit))
    canal = Tube(
        start=low + behind,
        end=high + 0.9 * behind,
        bend=bend,
        radii=(0.075 * unit, 0.06 * unit),
    )
    period = 0.55 * unit

    def vertebrae(points: Array) -> Array:
        disc = smooth_step(np.cos(2.0 * np.pi * points[0] / period), 0.55, 0.85)
        return np.asarray(0.4 + 0.25 * disc)

    return [
        Layer(
            opacity=_sharp(body, 0.8),
            brightness=trunk,
            centre=np.zeros(3),
            reach=np.inf,
        ),
        _layer(spine, 0.8, vertebrae),
        _layer(canal, 0.8, _flat(0.92)),
    ]


def _draw_organ(rng: np.random.Generator, unit: float) -> Ellipsoid:
    """Draw the large organ on the right, which holds most lesions."""
    turn = np.deg2rad(rng.uniform(10.0, 30.0))
    cos, sin = np.cos(turn), np.sin(turn)
    return Ellipsoid(
        centre=np.array([0.12, -0.08, -0.2]) * unit + rng.uniform(-2.0, 2.0, 3),
        radii=np.array([0.9, 0.5, 0.52]) * unit * rng.uniform(0.95, 1.08, 3),
        rotation=np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]),
    )


def _draw_organs(
    rng: np.random.Generator, organ: Ellipsoid, unit: float
) -> list[Layer]:
    """Draw the large organ, a small one on the left, a dark hollow one in front."""
    small = Ellipsoid(
        centre=np.array([0.45, 0.25, 0.55]) * unit,
        radii=np.array([0.4, 0.22, 0.16]) * unit * rng.uniform(0.9, 1.1, 3),
        rotation=np.eye(3),
    )
    hollow = Ellipsoid(
        centre=np.array([-0.3, -0.42, 0.42]) * unit,
        radii=np.array([0.4, 0.14, 0.2]) * unit * rng.uniform(0.9, 1.1, 3),
        rotation=np.eye(3),
    )
    waves = Waves.draw(rng, 14, 3.0, 30.0)
    return [
        _layer(organ, 1.2, _textured(rng.uniform(0.42, 0.5), waves, 0.08)),
        _layer(small, 0.8, _textured(0.58, Waves.draw(rng, 8, 3.0, 20.0), 0.05)),
        _layer(hollow, 0.6, _flat(0.08)),
    ]


def _draw_vessels(rng: np.random.Generator, extent: Array, unit: float) -> list[Layer]:
    """Draw bright tubes: two along the spine, and branches in the organ."""
    layers = []
    for place, radius in (((0.26, 0.12), 0.085), ((0.24, -0.14), 0.1)):
        level = np.array([0.0, *place]) * unit
        tube = Tube(
            start=level - np.array([1.5 * extent[0], 0.0, 0.0]),
            end=level + np.array([1.5 * extent[0], 0.0, 0.0]),
            bend=rng.uniform(-0.06, 0.06, 3) * unit,
            radii=(radius * unit, 0.8 * radius * unit),
        )
        layers.append(_layer(tube, 0.6, _flat(rng.uniform(0.75, 0.9))))
    for _ in range(4):
        start = np.array([-0.2, 0.05, -0.15]) * unit + rng.uniform(-4.0, 4.0, 3)
        run = np.array([rng.uniform(0.4, 0.9), *rng.uniform(-0.3, 0.2, 2)])
        tube = Tube(
            start=start,
            end=start + run * unit,
            bend=rng.uniform(-0.15, 0.15, 3) * unit,
            radii=(rng.uniform(1.5, 2.6), rng.uniform(0.5, 1.0)),
        )
        layers.append(_layer(tube, 0.5, _flat(rng.uniform(0.7, 0.85))))
    return layers


def _draw_lookalikes(
    rng: np.random.Generator,
    organ: Ellipsoid,
    extent: Array,
    taken: list[tuple[Array, float]],
) -> list[Layer]:
    """Draw cysts, brighter and sharper than lesions, and nodules with a capsule."""
    taken = list(taken)
    layers = []
    for kind in ("cyst", "nodule", "cyst", "nodule"):
        diameter = float(rng.uniform(4.0, 11.0))
        centre = place_centre(rng, organ, extent, taken, diameter)
        if centre is None:
            continue
        taken.append((centre, diameter))
        radii = diameter / 2.0 * rng.uniform(0.9, 1.1, 3)
        turn = random_rotation(rng)
        outer = Ellipsoid(centre=centre, radii=radii, rotation=turn)
        if kind == "cyst":
            layers.append(_layer(outer, 0.4, _flat(rng.uniform(0.95, 1.05))))
            continue
        inner = Ellipsoid(centre=centre, radii=radii - 1.1, rotation=turn)
        layers.append(_layer(outer, 0.4, _flat(0.22)))
        layers.append(_layer(inner, 0.4, _flat(rng.uniform(0.6, 0.72))))
    return layers


def _draw_lesions(
    rng: np.random.Generator,
    homes: tuple[Body, Ellipsoid],
    extent: Array,
    n_lesions: int,
    largest: float,
) -> list[Lesion]:
    body, organ = homes
    lesions: list[Lesion] = []
    for diameter in draw_diameters(rng, n_lesions, largest):
        # One in five grows in the muscle, where it stands out more.
        home = body if rng.random() < 0.2 else organ
        taken = [(lesion.centre, lesion.diameter) for lesion in lesions]
        centre = place_centre(rng, home, extent, taken, float(diameter))
        if centre is not None:
            lesions.append(draw_lesion(rng, centre, float(diameter)))
    if len(lesions) > 1:
        lesions[-1] = _touching(rng, body, extent, lesions)
    return lesions


def _touching(
    rng: np.random.Generator, body: Body, extent: Array, lesions: list[Lesion]
) -> Lesion:
    """Draw the smallest lesion anew, at the rim of the largest where that is inside."""
    large, small = lesions[0], lesions[-1]
    for _ in range(100):
        side = random_direction(rng) * 0.5 * (small.diameter + large.diameter)
        centre = np.asarray(large.centre + side)
        inside = bool(np.all(np.abs(centre) < extent - small.diameter - 2.0))
        if inside and body(centre) < -small.diameter - 2.0:
            return draw_lesion(rng, centre, small.diameter)
    return small
