"""Seeded phantoms: MR-like volumes whose true lesions are known exactly."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from e2miseg_core.errors import ConfigError
from e2miseg_core.geometry import Geometry
from e2miseg_core.samples.anatomy import Anatomy, Layer, draw_anatomy
from e2miseg_core.samples.lesions import LARGEST_MM, SMALLEST_MM, Lesion
from e2miseg_core.samples.shapes import Array, project

__all__ = ["DEFAULT_SHAPE", "LESION_KINDS", "Phantom", "check_kind", "generate_phantom"]

DEFAULT_SHAPE = (48, 96, 80)
LESION_KINDS = ("bright", "ringed")
_SPACING = np.array([2.5, 1.0, 1.2])
_SAMPLES = (3, 2, 2)  # points a voxel over which the image is averaged, ZYX
_SLAB = 8  # slices painted at once, so that memory does not grow with the volume
_FULL_SCALE = 400.0  # stored value of the brightest tissue
_NOISE = 0.045

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """A volume with its truth.

    Attributes
    ----------
    image : int16 array, shape (Z, Y, X)
        MR-like intensities in no unit.
    labels : uint8 array, shape (Z, Y, X)
        1 where the voxel's centre lies inside a lesion.
    geometry : Geometry
        Anisotropic and oblique.
    lesions : tuple of Lesion
        Largest first.
    """

    image: NDArray[np.int16]
    labels: NDArray[np.uint8]
    geometry: Geometry
    lesions: tuple[Lesion, ...]


def generate_phantom(
    seed: int,
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    *,
    spacing: tuple[float, float, float] | None = None,
    n_lesions: int | None = None,
    largest_mm: float = LARGEST_MM,
    noise: float = _NOISE,
    lesion_kind: str = "bright",
) -> Phantom:
    """Make a phantom; the same arguments give the same voxels.

    A trunk with organs, vessels and a spine, unlike under any flip or swap of axes, in
    a tilted field of view. Its lesions have 2 to 40 mm in diameter; over part of their
    surface the contrast fades out before the border or goes on beyond it, and cysts,
    nodules and vessels look like them. Each image voxel is the mean over its volume,
    with a bias field and Rician noise [1]_.

    Parameters
    ----------
    seed : int
        Not negative.
    shape : tuple of int
        Voxels, ZYX.
    spacing : tuple of float, optional
        ZYX in mm. Drawn around (2.5, 1.0, 1.2) when not given. With the same seed and
        the same field of view the anatomy is the same at any spacing.
    n_lesions : int, optional
        Lesions to place, fewer where there is no room; 3 to 7 when not given.
    largest_mm : float
        Diameter of the largest lesion in mm; it is also held to 0.42 of the shorter
        in-plane side.
    noise : float
        Standard deviation of the noise as a share of the brightest tissue.
    lesion_kind : str
        "bright" throughout, or "ringed": a bright rim around a dark, necrotic core in
        lesions from 7 mm on. Of the same seed, both have the same truth and differ in
        the cores alone.

    Returns
    -------
    Phantom

    Raises
    ------
    ConfigError
        If an argument is out of its range, or there is no such kind of lesion.

    References
    ----------
    .. [1] H. Gudbjartsson and S. Patz, "The Rician distribution of noisy MRI data",
       Magnetic Resonance in Medicine 34 (1995).
    """
    _check(seed, shape, spacing, largest_mm, lesion_kind)
    # One stream each, so that the anatomy does not depend on the grid or the noise.
    draws = [
        np.random.Generator(np.random.PCG64(s))
        for s in np.random.SeedSequence(seed).spawn(4)
    ]
    step = _SPACING * draws[0].uniform(0.9, 1.1, 3)
    if spacing is not None:
        step = np.asarray(spacing, dtype=float)
    affine = _draw_affine(draws[0], shape, step)
    extent = step * shape / 2.0
    count = int(draws[1].integers(3, 8))
    anatomy = draw_anatomy(
        draws[1],
        extent,
        count if n_lesions is None else n_lesions,
        min(largest_mm, 0.84 * float(extent[1:].min())),
        cores=draws[3] if lesion_kind == "ringed" else None,
    )
    to_body = _body_affine(affine, shape)
    clean = _paint(anatomy, to_body, shape)
    labels = _voxelise(anatomy.lesions, to_body, shape)
    return Phantom(
        image=_degrade(draws[2], clean, noise),
        labels=labels,
        geometry=Geometry(shape=shape, affine=affine),
        lesions=anatomy.lesions,
    )


def _check(
    seed: int,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float] | None,
    largest_mm: float,
    lesion_kind: str,
) -> None:
    if seed < 0:
        raise ConfigError(
            found=f"seed {seed}", needed="0 or more", do="choose another seed"
        )
    if len(shape) != 3 or min(shape) < 8:
        raise ConfigError(
            found=f"shape {tuple(shape)}",
            needed="three sizes (Z, Y, X) of at least 8 voxels",
            do="ask for a larger phantom",
        )
    if spacing is not None and (len(spacing) != 3 or not min(spacing) > 0):
        raise ConfigError(
            found=f"spacing {tuple(spacing)}",
            needed="three positive sizes (Z, Y, X) in mm",
            do="give for example 2.5 1.0 1.2",
        )
    if not SMALLEST_MM <= largest_mm <= LARGEST_MM:
        raise ConfigError(
            found=f"largest lesion of {largest_mm} mm",
            needed=f"{SMALLEST_MM} to {LARGEST_MM} mm",
            do="choose a diameter in that range",
        )
    check_kind(lesion_kind)


def check_kind(lesion_kind: str) -> None:
    """Raise ConfigError where there is no such kind of lesion."""
    if lesion_kind not in LESION_KINDS:
        raise ConfigError(
            found=f"lesions of the kind {lesion_kind!r}",
            needed=f"one of {', '.join(LESION_KINDS)}",
            do="choose one of them",
        )


def _draw_affine(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: Array
) -> Array:
    """(4, 4) from (z, y, x, 1) to RAS+ mm, tilted about all three axes."""
    angles = rng.uniform(4.0, 14.0, 3) * rng.choice([-1.0, 1.0], 3)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    canonical = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ canonical * spacing
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    affine[:3, 3] = rng.uniform(-30.0, 30.0, 3) - middle
    return affine


def _body_affine(affine: Array, shape: tuple[int, int, int]) -> Array:
    """(4, 4) from (z, y, x, 1) to (superior, posterior, left) mm from the middle."""
    to_spl = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    body = np.eye(4)
    body[:3, :3] = to_spl @ affine[:3, :3]
    body[:3, 3] = -body[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return body


def _points(affine: Array, where: Slices) -> Array:
    """Positions in mm of the voxel centres in a box, shape (3, Z, Y, X)."""
    index = np.asarray(np.mgrid[where], dtype=float)
    rows = zip(affine[:3, :3], affine[:3, 3], strict=True)
    return np.stack([project(row, index) + offset for row, offset in rows])


def _box(affine: Array, within: Slices, centre: Array, reach: float) -> Slices | None:
    """Voxels of `within` that a ball of `reach` mm can touch, or None."""
    if not np.isfinite(reach):
        return within
    inverse = np.linalg.inv(affine)
    middle = inverse[:3, :3] @ centre + inverse[:3, 3]
    half = reach * np.linalg.norm(inverse[:3, :3], axis=1) + 1.0
    box = []
    for axis, m, h in zip(within, middle, half, strict=True):
        start, stop = max(axis.start, int(m - h)), min(axis.stop, int(m + h) + 2)
        if start >= stop:
            return None
        box.append(slice(start, stop))
    return box[0], box[1], box[2]


def _slabs(shape: tuple[int, int, int], size: int) -> Iterator[Slices]:
    for start in range(0, shape[0], size):
        stop = min(shape[0], start + size)
        yield slice(start, stop), slice(0, shape[1]), slice(0, shape[2])


def _paint(anatomy: Anatomy, affine: Array, shape: tuple[int, int, int]) -> Array:
    """Mean brightness of each voxel's volume, shape (Z, Y, X)."""
    samples = np.array(_SAMPLES)
    fine = affine.copy()
    fine[:3, :3] = affine[:3, :3] / samples
    first = (1.0 / samples - 1.0) / 2.0  # of a voxel's points, from its centre
    fine[:3, 3] = affine[:3, 3] + affine[:3, :3] @ first
    fine_shape = (shape[0] * 3, shape[1] * 2, shape[2] * 2)
    image = np.empty(shape)
    for slab in _slabs(fine_shape, _SLAB * _SAMPLES[0]):
        canvas = _paint_slab(anatomy.layers, fine, slab)
        parts = canvas.reshape(-1, 3, shape[1], 2, shape[2], 2)
        start = slab[0].start // _SAMPLES[0]
        image[start : start + parts.shape[0]] = parts.mean(axis=(1, 3, 5))
    return image


def _paint_slab(layers: tuple[Layer, ...], affine: Array, slab: Slices) -> Array:
    canvas = np.full([axis.stop - axis.start for axis in slab], 0.02)
    for layer in layers:
        box = _box(affine, slab, layer.centre, layer.reach)
        if box is None:
            continue
        points = _points(affine, box)
        part = canvas[box[0].start - slab[0].start : box[0].stop - slab[0].start]
        part = part[:, box[1], box[2]]
        opacity = layer.opacity(points)
        seen = opacity > 0.0
        value = layer.brightness(points[:, seen])
        part[seen] += opacity[seen] * (value - part[seen])
    return canvas


def _voxelise(
    lesions: tuple[Lesion, ...], affine: Array, shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """1 where a voxel's centre lies inside a lesion, shape (Z, Y, X)."""
    labels = np.zeros(shape, dtype=np.uint8)
    whole = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    for lesion in lesions:
        box = _box(affine, whole, lesion.centre, lesion.reach)
        if box is not None:
            labels[box] |= lesion(_points(affine, box)) < 0.0
    return labels


def _degrade(rng: np.random.Generator, image: Array, noise: float) -> NDArray[np.int16]:
    """Bias field, Rician noise and rounding; works on (Z, Y, X)."""
    axes = [np.linspace(-1.0, 1.0, n) for n in image.shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    a = rng.uniform(-0.15, 0.15, 6)
    bias = a[0] * z + a[1] * y + a[2] * x + a[3] * y * x + a[4] * y * y + a[5] * z * x
    image = image * np.exp(bias)
    real = image + noise * rng.standard_normal(image.shape)
    image = np.hypot(real, noise * rng.standard_normal(image.shape))
    return np.rint(_FULL_SCALE * image).astype(np.int16)
