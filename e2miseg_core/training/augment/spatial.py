"""Turning and scaling a sample: the patch's voxels are looked up where they came from.

Image, labels and masks go through the same map, so they stay together.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from e2miseg_core.training.augment.changes import Changes

__all__ = ["move", "source_map", "source_size"]

Triple = tuple[int, int, int]
Matrix = NDArray[np.float64]
REACH = 1  # voxels that linear interpolation needs around a point
SPLINE_REACH = 8  # how far a cubic spline's prefilter is felt


def source_map(changes: Changes, plane: int | None) -> Matrix:
    """The matrix from steps in the patch to steps in the sample, both ZYX voxels."""
    matrix = np.eye(3) * changes.factor
    if plane is not None:
        matrix[plane, plane] = 1.0
    for axis, angle in enumerate(changes.angles):
        first, second = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix


def source_size(patch_size: Sequence[int], matrix: Matrix, *, cubic: bool) -> Triple:
    """Voxels of the sample, ZYX, that the patch is looked up in.

    Each axis exceeds the patch by an even number, so that both share their centre.
    """
    half = (np.array(patch_size) - 1) / 2
    reach = SPLINE_REACH if cubic else REACH
    grown = np.ceil(np.abs(matrix) @ half - half - 1e-6).astype(int) + reach
    z, y, x = (p + 2 * max(0, int(g)) for p, g in zip(patch_size, grown, strict=True))
    return z, y, x


def move(
    image: Tensor,
    masks: Tensor,
    matrix: Matrix,
    patch_size: Sequence[int],
    *,
    cubic: bool = False,
) -> tuple[Tensor, Tensor]:
    """Look the patch up in a sample; outside of it everything is 0.

    Parameters
    ----------
    image : Tensor of float32, shape (C, Z, Y, X)
        Interpolated linearly, or by cubic splines.
    masks : Tensor of uint8, shape (M, Z, Y, X)
        Labels and masks: the nearest voxel's.
    matrix : ndarray, shape (3, 3)
        Of `source_map`.
    patch_size : sequence of 3 int
        ZYX; the patch lies in the middle of the sample.
    cubic : bool
        Ten to twenty times as slow as linear interpolation on a CPU.

    Returns
    -------
    Tensor, shape (C, *patch_size)
    Tensor, shape (M, *patch_size)
    """
    size = np.array(image.shape[1:])
    patch = np.array(patch_size)
    centre = (size - patch) // 2 + (patch - 1) / 2
    grid = _grid(matrix, centre, patch, size)
    moved = (
        _spline(image, matrix, centre, patch)
        if cubic
        else F.grid_sample(image[None], grid, "bilinear", align_corners=False)[0]
    )
    whole = masks.float()[None]  # exact: nothing is mixed
    nearest = F.grid_sample(whole, grid, "nearest", align_corners=False)[0]
    return moved, nearest.to(masks.dtype)


def _grid(
    matrix: Matrix, centre: NDArray[np.float64], patch: Matrix, size: Matrix
) -> Tensor:
    """Where each voxel of the patch comes from, for `grid_sample`.

    Its coordinates run from -1 to 1 between the outer edges of a grid, so a step of 1
    is half of the patch, and half of the sample.
    """
    steps = matrix * patch[None, :] / size[:, None]
    offset = (2 * centre + 1) / size - 1
    theta = np.concatenate([steps[::-1, ::-1], offset[::-1, None]], axis=1)  # XYZ
    return F.affine_grid(
        torch.from_numpy(theta.astype(np.float32))[None],
        [1, 1, *(int(p) for p in patch)],
        align_corners=False,
    )


def _spline(
    image: Tensor,
    matrix: Matrix,
    centre: NDArray[np.float64],
    patch: NDArray[np.int64],
) -> Tensor:
    offset = centre - matrix @ ((patch - 1) / 2)
    moved = [
        ndimage.affine_transform(
            channel, matrix, offset, output_shape=tuple(patch), order=3
        )
        for channel in image.numpy()
    ]
    return torch.from_numpy(np.stack(moved))
