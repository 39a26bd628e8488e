"""What the network sees of a volume: normalised, on the model's grid, box by box.

Every step has its inverse. Nothing here reads more than the box asked for and what
interpolation needs around it, so a box comes out the same however a volume is cut.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, clip_box, pad_to_box
from e2miseg_core.errors import ConfigError, GeometryError
from e2miseg_core.progress import Job, Progress
from e2miseg_core.volume import Volume

__all__ = [
    "SCHEMES",
    "ModelView",
    "Normalization",
    "axis_plan",
    "denormalize",
    "measure_normalization",
    "nonzero_mask",
    "normalize",
    "resample_box",
]

SCHEMES = ("zscore", "clipped")
SLAB_BYTES = 16 << 20  # read at once while measuring intensities
# Stands for a voxel inside that is exactly the mean, since 0 means outside.
_MEAN_INSIDE = np.finfo(np.float32).tiny
Read = Callable[[Box], NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Intensity normalisation of one channel: clip, subtract, divide.

    Attributes
    ----------
    scheme : {"zscore", "clipped"}
        "zscore": mean and standard deviation of each case, measured when it is
        opened. "clipped": numbers of the training set, for CT.
    low, high : float or None
        Clipping range in image units; None where nothing is clipped.
    mean, std : float or None
        In image units; None for "zscore", since each case has its own.
    nonzero : bool
        Voxels that are 0 in every channel lie outside of what was imaged, as after
        skull stripping: they do not count for mean and standard deviation, and stay 0.
    """

    scheme: str = "zscore"
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None
    nonzero: bool = False

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ConfigError(
                found=f"the normalisation {self.scheme!r}",
                needed=f"one of {', '.join(SCHEMES)}",
                do="open the model with the version that wrote it, or newer",
            )

    def to_json(self) -> dict[str, Any]:
        """The normalisation as JSON values."""
        values = asdict(self)
        if not self.nonzero:
            # As before this existed: the hash of an older model file covers its card.
            del values["nonzero"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Normalization":
        """Read what `to_json` wrote; ConfigError on unknown keys."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(
                found=f"a normalisation with the keys {sorted(unknown)}",
                needed="keys that this version knows",
                do="open the model with the version that wrote it, or newer",
            )
        return cls(**values)


def normalize(
    block: NDArray[Any], normalizations: Sequence[Normalization]
) -> NDArray[np.float32]:
    """Normalise a block (C, Z, Y, X); values that are not finite become 0, the mean."""
    normalised = np.empty(block.shape, np.float32)
    for channel, rule in enumerate(normalizations):
        mean, std = _measured(rule)
        values = block[channel].astype(np.float32, copy=False)
        if rule.low is not None or rule.high is not None:
            values = np.clip(values, rule.low, rule.high)
        np.subtract(values, np.float32(mean), out=normalised[channel])
        normalised[channel] /= np.float32(std)
    np.nan_to_num(normalised, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    if any(rule.nonzero for rule in normalizations):
        outside = ~nonzero_mask(block)
        for channel, rule in enumerate(normalizations):
            if rule.nonzero:
                normalised[channel][normalised[channel] == 0] = _MEAN_INSIDE
                normalised[channel][outside] = 0
    return normalised


def denormalize(
    block: NDArray[np.float32], normalizations: Sequence[Normalization]
) -> NDArray[np.float32]:
    """Undo `normalize` (clipped values stay clipped)."""
    scales = [_measured(rule) for rule in normalizations]
    mean = np.array([m for m, _ in scales], np.float32).reshape(-1, 1, 1, 1)
    std = np.array([s for _, s in scales], np.float32).reshape(-1, 1, 1, 1)
    image = block * std + mean
    for channel, rule in enumerate(normalizations):
        if rule.nonzero:
            image[channel][block[channel] == 0] = 0
    return image


def nonzero_mask(block: NDArray[Any]) -> NDArray[np.bool_]:
    """Where any channel of a block (C, Z, Y, X) is a number other than 0."""
    inside = block != 0
    if not np.issubdtype(block.dtype, np.integer):
        inside &= np.isfinite(block)
    found: NDArray[np.bool_] = inside.any(axis=0)
    return found


def measure_normalization(
    data: da.Array, rules: Sequence[Normalization]
) -> Job[tuple[Normalization, ...]]:
    """Fill in mean and standard deviation where a case brings its own.

    Parameters
    ----------
    data : dask array, shape (C, Z, Y, X)
        Read in one pass, slab by slab; voxels that are not finite do not count.
    rules : sequence of Normalization
        One a channel.

    Yields
    ------
    Progress
        Before every slab.

    Returns
    -------
    tuple of Normalization
        With `mean` and `std` set.

    Raises
    ------
    GeometryError
        If the numbers of channels differ.
    """
    if len(rules) != data.shape[0]:
        raise GeometryError(
            found=f"an image of {data.shape[0]} channels",
            needed=f"{len(rules)} channels",
            do="choose the image that the model was made for",
        )
    wanted = [channel for channel, rule in enumerate(rules) if rule.mean is None]
    # What lies outside shows in all channels together.
    masked = any(rules[channel].nonzero for channel in wanted)
    moments = {channel: _Moments() for channel in wanted}
    for part in [range(len(rules))] if masked else [[c] for c in wanted]:
        yield from _measure_channels(data, rules, part, moments)
    return tuple(
        replace(rule, mean=moments[c].mean, std=moments[c].std)
        if c in moments
        else rule
        for c, rule in enumerate(rules)
    )


def _measure_channels(
    data: da.Array,
    rules: Sequence[Normalization],
    channels: Sequence[int],
    moments: Mapping[int, "_Moments"],
) -> Job[None]:
    """Read some channels together, and add those that are measured to their moments."""
    depth = data.shape[1]
    rows = max(1, SLAB_BYTES // max(1, len(channels) * data[0, 0].nbytes))
    for start in range(0, depth, rows):
        yield Progress(done=start, total=depth, stage="reading intensities")
        read = data[channels[0] : channels[-1] + 1, start : start + rows]
        block = np.asarray(read)
        inside = (
            nonzero_mask(block) if any(rules[c].nonzero for c in channels) else None
        )
        for values, channel in zip(block, channels, strict=True):
            if channel in moments:
                counted = inside if rules[channel].nonzero else None
                moments[channel].add(values if counted is None else values[counted])


class _Moments:
    """Mean and standard deviation of what is added part by part."""

    def __init__(self) -> None:
        self._count, self._mean, self._scatter = 0, 0.0, 0.0

    def add(self, values: NDArray[Any]) -> None:
        values = values.astype(np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            return
        # Chan, Golub, LeVeque (1983): join two means and sums of squares.
        shift, joint = values.mean() - self._mean, self._count + values.size
        between = shift**2 * self._count * values.size / joint
        self._scatter += values.var() * values.size + between
        self._mean += shift * values.size / joint
        self._count = joint

    @property
    def mean(self) -> float:
        return float(self._mean)

    @property
    def std(self) -> float:
        """1 for a constant image, which so stays constant."""
        std = float(np.sqrt(self._scatter / self._count)) if self._count else 0.0
        return std if std > 0 else 1.0


def _measured(rule: Normalization) -> tuple[float, float]:
    if rule.mean is None or rule.std is None:
        raise ConfigError(
            found="a normalisation without mean and standard deviation",
            needed="both, measured on the case",
            do="call measure_normalization first",
        )
    return rule.mean, rule.std


def resample_box(
    read: Read, source_shape: Sequence[int], target_shape: Sequence[int], box: Box
) -> NDArray[np.float32]:
    """One box of a volume on another grid with the same field of view.

    Linear interpolation between voxel centres; where the target is coarser, the
    triangle is widened to one target voxel, which averages and avoids aliasing.

    Parameters
    ----------
    read : callable
        Gives a source box as (C, z, y, x).
    source_shape, target_shape : sequence of 3 int
        Voxels of both grids, ZYX; their outer voxel edges coincide.
    box : three (start, stop)
        Wanted voxels of the target grid.

    Returns
    -------
    ndarray of float32, shape (C, z, y, x)
    """
    if any(stop <= start for start, stop in box):
        channels = read(((0, 0), (0, 0), (0, 0))).shape[0]
        return np.zeros((channels, *(max(0, b - a) for a, b in box)), np.float32)
    plans = [
        axis_plan(n_source, n_target, bounds)
        for n_source, n_target, bounds in zip(
            source_shape, target_shape, box, strict=True
        )
    ]
    z, y, x = (bounds for bounds, _ in plans)
    block = read((z, y, x)).astype(np.float32, copy=False)
    for axis, (_, weights) in enumerate(plans, start=1):
        if weights is not None:
            moved = np.tensordot(weights, block, axes=(1, axis))
            block = np.moveaxis(moved, 0, axis)
    return np.ascontiguousarray(block)


def axis_plan(
    n_source: int, n_target: int, bounds: tuple[int, int]
) -> tuple[tuple[int, int], NDArray[np.float32] | None]:
    """Plan the interpolation along one axis.

    Parameters
    ----------
    n_source, n_target : int
        Voxels of both grids.
    bounds : (start, stop)
        Wanted target voxels, at least one.

    Returns
    -------
    (start, stop)
        Source voxels that are needed.
    ndarray of float32, shape (target, source), or None
        Weights; None where the grids are the same.
    """
    if n_source == n_target:
        return bounds, None
    ratio = n_source / n_target
    centres = (np.arange(*bounds) + 0.5) * ratio - 0.5
    width = max(1.0, ratio)
    first = int(np.clip(np.floor(centres[0] - width), 0, n_source - 1))
    last = int(np.clip(np.ceil(centres[-1] + width), 0, n_source - 1))
    distance = np.abs(np.arange(first, last + 1)[None] - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / width)
    # At the rim part of the triangle lies outside: the rest is scaled to 1.
    weights /= weights.sum(axis=1, keepdims=True)
    return (first, last + 1), weights.astype(np.float32)


class ModelView:
    """A volume as the network sees it.

    Parameters
    ----------
    volume : Volume
    spacing : sequence of 3 float
        The model's spacing, ZYX, in mm.
    normalizations : sequence of Normalization
        Measured ones, one a channel.

    Attributes
    ----------
    geometry : Geometry
        The model's grid over the volume's field of view. It is the volume's own
        grid where rounding leaves the number of voxels unchanged.
    """

    def __init__(
        self,
        volume: Volume,
        spacing: Sequence[float],
        normalizations: Sequence[Normalization],
    ) -> None:
        self.volume = volume
        self.normalizations = tuple(normalizations)
        z, y, x = (float(s) for s in spacing)
        self.geometry = volume.geometry.in_unit("mm").resampled((z, y, x))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the model's grid, ZYX."""
        return self.geometry.shape

    def read(self, box: Box) -> NDArray[np.float32]:
        """One box (C, z, y, x); what lies outside the volume is 0, the mean.

        Parameters
        ----------
        box : three (start, stop)
            Voxels of the model's grid; may reach beyond it on every side.
        """
        inner = clip_box(box, self.shape)
        known = resample_box(
            self._read_source, self.volume.geometry.shape, self.shape, inner
        )
        return pad_to_box(known, inner, box)

    def _read_source(self, box: Box) -> NDArray[np.float32]:
        block = np.asarray(self.volume.data[(slice(None), *box_slices(box))])
        return normalize(block, self.normalizations)
