"""Coarser levels of a volume: a voxel stands for a block of one or two along each axis.

Images take the mean of a block, labels its most frequent value. At the end of an axis
of odd size a block has one voxel there: its result is that of the voxels it has.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["COARSEST", "Step", "coarse_shape", "level_steps", "mean", "most_frequent"]

COARSEST = 256  # voxels along the longest axis of the coarsest level, at most
_NEAR = 1.5  # an axis whose spacing is within this of the finest is halved with it

Step: TypeAlias = tuple[int, int, int]  # voxels of a block along Z, Y, X: 1 or 2 each


def coarse_shape(shape: Sequence[int], step: Step) -> tuple[int, int, int]:
    """Voxels of the next level along Z, Y, X."""
    z, y, x = (-(-size // by) for size, by in zip(shape, step, strict=True))
    return z, y, x


def level_steps(
    shape: Sequence[int], spacing: Sequence[float], n_levels: int | None = None
) -> tuple[Step, ...]:
    """Choose the steps from level to level, so that voxels become isotropic first.

    Parameters
    ----------
    shape : sequence of three int
        Of the finest level.
    spacing : sequence of three float
        Along Z, Y, X; only their ratios count.
    n_levels : int, optional
        Levels in all; without it as many as bring the longest axis to 256 voxels.

    Returns
    -------
    tuple of Step
        One for each level after the finest. Halved are the axes whose spacing is at
        most 1.5 times the finest of an axis that has more than one voxel.
    """
    sizes, spaces = tuple(shape), tuple(spacing)
    steps: list[Step] = []
    while max(sizes) > (COARSEST if n_levels is None else 1):
        if n_levels is not None and len(steps) + 1 >= n_levels:
            break
        finest = min(s for n, s in zip(sizes, spaces, strict=True) if n > 1)
        z, y, x = (
            2 if n > 1 and s <= _NEAR * finest else 1
            for n, s in zip(sizes, spaces, strict=True)
        )
        steps.append((z, y, x))
        sizes = coarse_shape(sizes, (z, y, x))
        spaces = tuple(s * by for s, by in zip(spaces, (z, y, x), strict=True))
    return tuple(steps)


def mean(image: NDArray[Any], step: Step) -> NDArray[Any]:
    """Mean of each block, in the type of the image.

    Parameters
    ----------
    image : ndarray, shape (z, y, x)
        That begins at the first voxel of a block.
    step : Step
        Voxels of a block.

    Returns
    -------
    ndarray
        Of whole numbers the exact mean, rounded to the nearest, ties to the even one.
        Of real numbers the mean in float64 of those that are no NaN; NaN where all
        are.
    """
    padded = _padded(image, step)
    count = math.prod(step)
    if count == 1:
        return image.copy()
    if image.dtype.kind == "f":
        means = _real_mean(padded, step, count)
    elif image.dtype.itemsize < 8:
        wide = np.dtype(np.int32 if image.dtype.itemsize < 4 else np.int64)
        means = _rounded(_sums(padded, step, wide), count)
    else:  # the sum would not fit: whole parts and rests apart
        bits = count.bit_length() - 1
        whole = _sums(padded >> bits, step, image.dtype)
        rest = _sums(padded & (count - 1), step, image.dtype)
        whole += rest >> bits
        rest &= count - 1
        means = whole + ((rest + _tie(whole, count)) >> bits)
    return means.astype(image.dtype, copy=False)


def most_frequent(
    labels: NDArray[Any], step: Step, weights: NDArray[np.uint8] | None = None
) -> NDArray[Any]:
    """Most frequent label of each block, the larger one of two equally frequent.

    Parameters
    ----------
    labels : ndarray, shape (z, y, x)
        That begins at the first voxel of a block.
    step : Step
        Voxels of a block.
    weights : ndarray of uint8, shape of the labels, optional
        How often each voxel counts; at most 31.
    """
    values = list(_blocks(_padded(labels, step), step))
    best = values[0].copy()
    mixed = np.zeros(best.shape, bool)
    for other in values[1:]:
        mixed |= other != best
    if not mixed.any():
        return best
    counts: list[Any] = [np.uint8(1)] * len(values)
    if weights is not None:
        counts = [n[mixed] for n in _blocks(_padded(weights, step), step)]
    best[mixed] = _elected([other[mixed] for other in values], counts)
    return best


def _elected(values: Sequence[NDArray[Any]], counts: Sequence[Any]) -> NDArray[Any]:
    """Winner of each column, the larger one of two with equally many votes."""
    best = values[0].copy()
    most = np.zeros(best.shape, np.uint8)
    for candidate in values:
        votes = np.zeros(best.shape, np.uint8)
        for other, count in zip(values, counts, strict=True):
            votes += count * (other == candidate)
        better = (votes > most) | ((votes == most) & (candidate > best))
        np.copyto(best, candidate, where=better)
        np.maximum(most, votes, out=most)
    return best


def _padded(array: NDArray[Any], step: Step) -> NDArray[Any]:
    """Repeat the last voxel of an axis that ends in half a block."""
    pad = [(0, -size % by) for size, by in zip(array.shape, step, strict=True)]
    return np.pad(array, pad, mode="edge") if any(n for _, n in pad) else array


def _blocks(array: NDArray[Any], step: Step) -> Iterator[NDArray[Any]]:
    """Views of the voxels of each block, in the same order always."""
    z, y, x = step
    for dz, dy, dx in itertools.product(*map(range, step)):
        yield array[dz::z, dy::y, dx::x]


def _sums(array: NDArray[Any], step: Step, dtype: np.dtype[Any]) -> NDArray[Any]:
    summed = array
    for axis in (2, 1, 0):  # the axis whose voxels lie together first
        if step[axis] == 2:
            lead = (slice(None),) * axis
            even, odd = (
                summed[(*lead, slice(0, None, 2))],
                summed[(*lead, slice(1, None, 2))],
            )
            summed = np.add(even, odd, dtype=dtype)
    return summed


def _tie(whole: NDArray[Any], count: int) -> NDArray[Any]:
    """What makes cutting off the rest round half to even."""
    tie: NDArray[Any] = (whole & 1) + (count // 2 - 1)
    return tie


def _rounded(sums: NDArray[Any], count: int) -> NDArray[Any]:
    bits = count.bit_length() - 1
    rounded: NDArray[Any] = (sums + _tie(sums >> bits, count)) >> bits
    return rounded


def _real_mean(image: NDArray[Any], step: Step, count: int) -> NDArray[Any]:
    double = np.dtype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        means = _sums(image, step, double) / count
        missing = np.isnan(image) if np.isnan(means).any() else None
        if missing is not None and missing.any():
            there = _sums(~missing, step, np.dtype(np.int32))
            sums = _sums(np.where(missing, 0, image), step, double)
            means = np.divide(
                sums, there, out=np.full(sums.shape, np.nan), where=there > 0
            )
    return means
