"""Contrast limits from a small sample of a lazy volume."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.volume import Volume

__all__ = ["sampled_limits"]

_SAMPLE = 1 << 20  # voxels of one channel are plenty for two percentiles
_SMALL_BYTES = 256 << 20
_LOW, _HIGH = 0.2, 99.8  # per cent


def sampled_limits(volume: Volume, channel: int) -> tuple[float, float]:
    """Contrast limits that show most of a channel, from a few of its planes.

    Parameters
    ----------
    volume : Volume
        Of any size.
    channel : int
        Which one.

    Returns
    -------
    tuple of float
        The 0.2nd and the 99.8th percentile, apart even for a constant image.

    Notes
    -----
    Of a large packed file only the middle plane is read: it is the first one shown,
    so it has to be unpacked anyway, and everything behind it does not.
    """
    level = volume.levels[-1][channel]  # (Z, Y, X), the coarsest
    depth = level.shape[0]
    packed = volume.source is not None and volume.source.uri.endswith(".gz")
    if packed and level.nbytes > _SMALL_BYTES:
        planes = [depth // 2]
    else:
        planes = sorted({depth // 4, depth // 2, 3 * depth // 4})
    step = max(1, round((level[0].size * len(planes) / _SAMPLE) ** 0.5))
    values = np.concatenate(
        [np.asarray(level[plane, ::step, ::step]).ravel() for plane in planes]
    )
    return _limits(values)


def _limits(values: NDArray[Any]) -> tuple[float, float]:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(edge) for edge in np.percentile(finite, (_LOW, _HIGH)))
    if low == high:  # a thin structure on a flat background
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low, low + 1.0)
