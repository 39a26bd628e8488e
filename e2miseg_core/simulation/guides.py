"""Who tells the robot where to look: the product's ranking, and its rivals.

error-map : the uncertain edges of the product, in its order
entropy : greedy boxes of the entropy of the probabilities
random : boxes round random points of the predicted boundary

All boxes of a case have the size of the product's, so that only the choice differs.
"""

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import zarr
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, clip_box, make_box
from e2miseg_core.progress import Job
from e2miseg_core.project import CasePrediction
from e2miseg_core.uncertainty.error_map import entropy
from e2miseg_core.uncertainty.log_probabilities import decode_log_probabilities
from e2miseg_core.uncertainty.regions import propose_regions, to_units

__all__ = [
    "ENTROPY",
    "ERROR_MAP",
    "GUIDES",
    "RANDOM",
    "RANDOM_REPEATS",
    "boundary",
    "entropy_boxes",
    "random_boxes",
]

ERROR_MAP, ENTROPY, RANDOM = GUIDES = ("error-map", "entropy", "random")
RANDOM_REPEATS = 3  # the mean of which is taken
_BLOCK = 64  # voxels along an edge

Triple = tuple[int, int, int]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Blocks:
    """A map in memory, block by block."""

    values: NDArray[np.uint16]

    @property
    def shape(self) -> Triple:
        """Voxels of the map."""
        z, y, x = self.values.shape
        return z, y, x

    @property
    def block_shape(self) -> Triple:
        """Voxels of a block."""
        return _BLOCK, _BLOCK, _BLOCK

    @property
    def occupied(self) -> Collection[Triple]:
        """Numbers of the blocks that are not 0 throughout."""
        numbers = np.ndindex(*(-(-n // _BLOCK) for n in self.shape))
        return {(z, y, x) for z, y, x in numbers if self.block((z, y, x)).any()}

    def block(self, index: Triple) -> NDArray[np.uint16]:
        """Read a block."""
        corner = [number * _BLOCK for number in index]
        box = clip_box(make_box(corner, self.block_shape), self.shape)
        return self.values[box_slices(box)]


def entropy_boxes(
    prediction: CasePrediction, size: Triple, count: int
) -> Job[list[Box]]:
    """Boxes that hold the most entropy, each voxel counted once.

    Parameters
    ----------
    prediction : CasePrediction
        With its log-probabilities.
    size : tuple of int
        Voxels of a box, odd.
    count : int
        Boxes wanted; fewer where no entropy is left.

    Notes
    -----
    The map of the whole case is held in memory.
    """
    blocks = _Blocks(values=_entropy_units(prediction))
    total = int(blocks.values.sum(dtype=np.int64))
    regions = yield from propose_regions(blocks, size, total, limit=count, share=0.0)
    return [region.box for region in regions]


def random_boxes(
    labels: NDArray[np.unsignedinteger], size: Triple, count: int, *, seed: str
) -> list[Box]:
    """Boxes round random voxels of the predicted boundary.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        As predicted. Where they have no boundary, any voxel may be a centre.
    size : tuple of int
        Voxels of a box, odd; those at the rim of the volume are cut.
    count : int
        Boxes wanted; never more than there are voxels to choose from.
    seed : str
        Words that the choice depends on, and on nothing else.
    """
    edge = boundary(labels)
    centres = np.argwhere(edge if edge.any() else np.ones_like(edge))
    digest = hashlib.sha256(seed.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    count = min(count, len(centres))
    chosen = centres[rng.choice(len(centres), size=count, replace=False)]
    corners = chosen - np.array(size) // 2
    return [
        clip_box(make_box([int(c) for c in corner], size), labels.shape)
        for corner in corners
    ]


def boundary(labels: NDArray[np.unsignedinteger]) -> NDArray[np.bool_]:
    """Voxels with a face neighbour of another label, shape (Z, Y, X)."""
    edge = np.zeros(labels.shape, dtype=bool)
    for axis in range(labels.ndim):
        here, there = np.moveaxis(labels, axis, 0), np.moveaxis(edge, axis, 0)
        differs = here[1:] != here[:-1]
        there[1:] |= differs
        there[:-1] |= differs
    return edge


def _entropy_units(prediction: CasePrediction) -> NDArray[np.uint16]:
    """Entropy as a share of its largest value, in units of `propose_regions`."""
    codes = zarr.open_array(str(prediction.log_probabilities / "0"), mode="r")
    found = np.zeros(codes.shape[1:], dtype=np.uint16)
    largest = math.log(codes.shape[0])
    for start in range(0, found.shape[0], _BLOCK):
        rows = slice(start, start + _BLOCK)
        probabilities = decode_log_probabilities(np.asarray(codes[:, rows]))
        share = np.clip(entropy(probabilities) / np.float32(largest), 0.0, 1.0)
        found[rows] = to_units(share)
    return found
