"""Changes of a patch's intensities, each of specification A.6, channel by channel."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from e2miseg_core.training.augment.changes import Changes, PerChannel

__all__ = ["change_intensities"]

TINY = 1e-7


def change_intensities(image: Tensor, changes: Changes, plane: int | None) -> Tensor:
    """Make the changes of intensities, in the list's order.

    Parameters
    ----------
    image : Tensor of float32, shape (C, Z, Y, X)
        Not changed itself.
    changes : Changes
    plane : int or None
        An axis whose resolution is never lowered, as in nnU-Net where slices are
        turned one by one.
    """
    channels = list(image)
    if changes.noise is not None:
        channels = list(_noisy(image, *changes.noise))
    for number in range(len(channels)):
        for function, values in (
            (_blurred, changes.blur),
            (_brighter, changes.brightness),
            (_contrasted, changes.contrast),
        ):
            if (value := _of(values, number)) is not None:
                channels[number] = function(channels[number], value)
        if (value := _of(changes.low_resolution, number)) is not None:
            channels[number] = _lowered(channels[number], value, plane)
        if (value := _of(changes.inverted_gamma, number)) is not None:
            channels[number] = -_gamma(-channels[number], value)
        if (value := _of(changes.gamma, number)) is not None:
            channels[number] = _gamma(channels[number], value)
    return torch.stack(channels)


def _of(values: PerChannel, number: int) -> float | None:
    return values[number] if values else None


def _noisy(image: Tensor, deviation: float, seed: int) -> Tensor:
    random = np.random.default_rng(seed)
    noise = random.standard_normal(tuple(image.shape), np.float32)
    return image + deviation * torch.from_numpy(noise)


def _blurred(channel: Tensor, deviation: float) -> Tensor:
    """Smooth with a Gaussian; borders are reflected, where MONAI's darken."""
    return torch.from_numpy(ndimage.gaussian_filter(channel.numpy(), deviation))


def _brighter(channel: Tensor, factor: float) -> Tensor:
    return channel * factor


def _contrasted(channel: Tensor, factor: float) -> Tensor:
    """Spread about the mean, within the range that there was."""
    low, high = channel.aminmax()
    mean = channel.mean()
    return ((channel - mean) * factor + mean).clamp(low, high)


def _lowered(channel: Tensor, factor: float, plane: int | None) -> Tensor:
    """Take every n-th voxel only, and interpolate the others by cubic splines."""
    for axis, n in enumerate(channel.shape):
        fewer = max(1, round(n * factor))
        if axis != plane and fewer < n:
            channel = torch.tensordot(
                torch.from_numpy(_lowering(n, fewer)), channel, dims=([1], [axis])
            ).movedim(0, axis)
    return channel


@lru_cache(maxsize=256)  # 64 KiB each for a patch of 128 voxels
def _lowering(n: int, fewer: int) -> NDArray[np.float32]:
    """The matrix (n, n) of `_lowered` along one axis: both steps are linear maps."""
    nearest = ((np.arange(fewer) + 0.5) * n / fewer).astype(int)
    back = ndimage.zoom(
        np.eye(fewer), (n / fewer, 1), order=3, mode="nearest", grid_mode=True
    )
    matrix = np.zeros((n, n), np.float32)
    matrix[:, nearest] = back
    return matrix


def _gamma(channel: Tensor, gamma: float) -> Tensor:
    """Raise to a power over the range of values; mean and deviation are retained."""
    low, high = channel.aminmax()
    span = high - low
    deviation, mean = torch.std_mean(channel, correction=0)
    curved = ((channel - low) / (span + TINY)).pow(gamma)
    curved_deviation, curved_mean = torch.std_mean(curved, correction=0)
    scale = deviation / curved_deviation.clamp_min(1e-8)
    return (curved - curved_mean) * scale + mean
