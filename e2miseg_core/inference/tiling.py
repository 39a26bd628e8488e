"""Where the tiles of a volume lie, and how much each voxel of a tile counts."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError

__all__ = ["TileGrid", "gaussian_axis", "tile_starts"]

Triple = tuple[int, int, int]


def tile_starts(size: int, patch: int, overlap: float) -> list[int]:
    """Starts of the tiles along one axis (specification A.6, inference).

    They are evenly spread, at most `patch * (1 - overlap)` apart, and the last tile
    ends at the border. Where the patch is larger than the volume there is one tile,
    centred, which begins outside.
    """
    if patch >= size:
        return [-((patch - size) // 2)]
    step = max(1, int(patch * (1 - overlap)))
    n_steps = math.ceil((size - patch) / step)
    return [round(i * (size - patch) / n_steps) for i in range(n_steps + 1)]


def gaussian_axis(patch: int) -> NDArray[np.float32]:
    """Blending weight along one axis: Gaussian, sigma = patch / 8, maximum 1.

    The specification's weights of a tile are the product over its three axes.
    """
    offset = (np.arange(patch) - (patch - 1) / 2) / (patch / 8)
    weight = np.exp(-0.5 * offset**2)
    scaled: NDArray[np.float32] = (weight / weight.max()).astype(np.float32)
    return scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """All tiles of a volume: every combination of the three axes' starts.

    Attributes
    ----------
    shape, patch_size : tuple of 3 int
        ZYX, voxels.
    overlap : float
        Fraction of the patch shared by neighbours, in [0, 1).
    """

    shape: Triple
    patch_size: Triple
    overlap: float

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ConfigError(
                found=f"an overlap of {self.overlap}",
                needed="at least 0 and less than 1",
                do="take 0.5 unless you know why not",
            )

    def axis_starts(self, axis: int) -> list[int]:
        """Starts along one axis."""
        return tile_starts(self.shape[axis], self.patch_size[axis], self.overlap)

    def layers(self) -> list[tuple[int, list[Triple]]]:
        """Tiles by their start in z, ascending: (start in z, starts ZYX)."""
        rest = list(itertools.product(self.axis_starts(1), self.axis_starts(2)))
        return [(z, [(z, y, x) for y, x in rest]) for z in self.axis_starts(0)]

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return math.prod(len(self.axis_starts(axis)) for axis in range(3))

    def axis_weight(self, axis: int) -> NDArray[np.float32]:
        """Sum of all tiles' weights along one axis of the volume.

        Starts and weights are products over the axes, so the total weight of a
        voxel is the product of its three axis sums.
        """
        size, patch = self.shape[axis], self.patch_size[axis]
        total = np.zeros(size, np.float32)
        for start in self.axis_starts(axis):
            first, stop = max(0, start), min(size, start + patch)
            total[first:stop] += gaussian_axis(patch)[first - start : stop - start]
        return total

    def tile_weight(self) -> NDArray[np.float32]:
        """Blending weight of one tile, shape `patch_size`."""
        z, y, x = (gaussian_axis(p) for p in self.patch_size)
        weight: NDArray[np.float32] = z[:, None, None] * y[:, None] * x
        return weight
