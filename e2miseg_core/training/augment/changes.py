"""What is done to one sample: drawn first, applied without chance afterwards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from e2miseg_core.boxes import Box, make_box
from e2miseg_core.training.augment.rules import AugmentationRules

__all__ = ["Changes", "draw_changes", "plane_axis"]

Triple = tuple[int, int, int]
PerChannel = tuple[float | None, ...]  # one a channel, None where it stays; or empty
ZOOM = (0.7, 1.4)
NOISE = (0.0, 0.1)  # variance, or standard deviation, by the rules
BLUR = (0.5, 1.0)  # standard deviation in voxels
BRIGHTNESS = (0.75, 1.25)
CONTRAST = (0.75, 1.25)
RESOLUTION = (0.5, 1.0)
GAMMA = (0.7, 1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The parameters of every change of one sample.

    Attributes
    ----------
    angles : tuple of 3 float
        About Z, Y and X, in radians.
    factor : float
        Voxels of the sample for one of the patch: above 1 shows more, and smaller.
    mirrored : tuple of int
        Axes of Z, Y, X.
    noise : tuple of (float, int) or None
        Its standard deviation, and the seed of its values.
    blur, brightness, contrast, low_resolution, inverted_gamma, gamma
        A number for each channel that is changed; empty where none is.
    holes : tuple of Box
        Of the patch, set to 0.
    """

    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    factor: float = 1.0
    mirrored: tuple[int, ...] = ()
    noise: tuple[float, int] | None = None
    blur: PerChannel = ()
    brightness: PerChannel = ()
    contrast: PerChannel = ()
    low_resolution: PerChannel = ()
    inverted_gamma: PerChannel = ()
    gamma: PerChannel = ()
    holes: tuple[Box, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether voxels come to lie between voxels."""
        return self.factor != 1 or any(self.angles)


def plane_axis(patch_size: Sequence[int]) -> int:
    """The axis along which a patch is thinnest; slices across it are turned alone."""
    return int(np.argmin(patch_size))


def draw_changes(
    rules: AugmentationRules,
    random: np.random.Generator,
    *,
    n_channels: int,
    patch_size: Triple,
    mirror_axes: Sequence[int],
    plane: int | None,
) -> Changes:
    """Draw what happens to one sample.

    Parameters
    ----------
    rules : AugmentationRules
    random : numpy.random.Generator
    n_channels : int
    patch_size : tuple of 3 int
        ZYX.
    mirror_axes : sequence of int
        Axes that may be mirrored.
    plane : int or None
        The axis about which alone a sample is turned; None where it is turned about
        all three.
    """

    def happens(probability: float) -> bool:
        return bool(random.random() < probability)

    def each(probability: float, bounds: tuple[float, float]) -> PerChannel:
        """A factor for every channel."""
        if not happens(probability):
            return ()
        return tuple(_around_one(random, bounds) for _ in range(n_channels))

    def some(probability: float, bounds: tuple[float, float]) -> PerChannel:
        """A number for some of the channels."""
        if not happens(probability):
            return ()
        return tuple(
            float(random.uniform(*bounds)) if happens(rules.channel) else None
            for _ in range(n_channels)
        )

    return Changes(
        angles=_angles(rules, random, plane)
        if happens(rules.rotation)
        else (0.0, 0.0, 0.0),
        factor=_around_one(random, ZOOM) if happens(rules.scaling) else 1.0,
        noise=_noise(rules, random) if happens(rules.noise) else None,
        blur=some(rules.blur, BLUR),
        brightness=each(rules.brightness, BRIGHTNESS),
        contrast=each(rules.contrast, CONTRAST),
        low_resolution=some(rules.low_resolution, RESOLUTION),
        inverted_gamma=each(rules.inverted_gamma, GAMMA),
        gamma=each(rules.gamma, GAMMA),
        mirrored=tuple(axis for axis in mirror_axes if happens(rules.mirroring)),
        holes=_holes(rules, random, patch_size, plane)
        if happens(rules.dropout)
        else (),
    )


def _angles(
    rules: AugmentationRules, random: np.random.Generator, plane: int | None
) -> tuple[float, float, float]:
    largest = math.radians(rules.angle if plane is None else rules.plane_angle)
    z, y, x = (
        float(random.uniform(-largest, largest)) if plane in (None, axis) else 0.0
        for axis in range(3)
    )
    return z, y, x


def _around_one(random: np.random.Generator, bounds: tuple[float, float]) -> float:
    """A factor that is as often below 1 as above, as nnU-Net draws all of them."""
    low, high = bounds
    below = random.random() < 0.5
    return float(random.uniform(low, 1) if below else random.uniform(1, high))


def _noise(rules: AugmentationRules, random: np.random.Generator) -> tuple[float, int]:
    """Of uniform variance (nnU-Net's paper, supplement), or deviation (its code)."""
    drawn = random.uniform(*NOISE)
    deviation = drawn if rules.noise_by_deviation else math.sqrt(drawn)
    return deviation, int(random.integers(2**63))


def _holes(
    rules: AugmentationRules,
    random: np.random.Generator,
    patch_size: Triple,
    plane: int | None,
) -> tuple[Box, ...]:
    """Boxes wholly inside the patch, through all of its slices where it has a plane."""
    z, y, x = (
        n if axis == plane else min(rules.hole_size, n)
        for axis, n in enumerate(patch_size)
    )
    return tuple(
        make_box(
            [
                int(random.integers(n - s + 1))
                for n, s in zip(patch_size, (z, y, x), strict=True)
            ],
            (z, y, x),
        )
        for _ in range(int(random.integers(1, rules.holes + 1)))
    )
