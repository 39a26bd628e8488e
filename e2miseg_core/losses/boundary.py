"""Where classes meet: neighbourhoods of labels by max pooling, on any device."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from e2miseg_core.errors import ConfigError

__all__ = ["boundary_weights", "label_range"]

SIGMA = 2.0  # voxels over which the weight of a boundary fades
# Voxels beyond which it is left away: the next would have 2 % of its height.
REACH = 5
ALL_AXES = (0, 1, 2)


@torch.no_grad()
def boundary_weights(
    labels: Tensor, height: float, *, valid: Tensor | None = None
) -> Tensor:
    """Weight of each voxel by its distance to the nearest other class.

    After the weight map of U-Net [1]_, w = 1 + height exp(-d^2 / (2 sigma^2)), with
    the distance to the boundary between two classes instead of that to two cells.

    Parameters
    ----------
    labels : Tensor of int, shape (N, Z, Y, X)
    height : float
        What is added at a boundary itself.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels whose label is known.

    Returns
    -------
    Tensor of float32, shape (N, Z, Y, X)
        At least 1; 0 where not valid.

    Raises
    ------
    ConfigError
        For a height below 0.

    Notes
    -----
    Distances are chessboard distances in voxels, half a voxel less than to the
    other class's nearest voxel, and sigma is 2: boundaries in three dimensions take
    much more of a patch than the 5 pixels of [1]_ take of an image.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional networks for
       biomedical image segmentation", MICCAI 2015, equation 2.
    """
    if not 0 <= height < math.inf:
        raise ConfigError(
            found=f"a boundary that counts {height} more",
            needed="a number of at least 0",
            do="correct the height",
        )
    added = torch.zeros(labels.shape, dtype=torch.float32, device=labels.device)
    highest, lowest = label_range(labels, 0, valid=valid)
    for steps in range(1, REACH + 1):
        highest, lowest = _grown(highest, 1), -_grown(-lowest, 1)
        fading = height * math.exp(-(((steps - 0.5) / SIGMA) ** 2) / 2)
        found = (highest > lowest) & (added == 0)
        added = added.masked_fill(found, fading)
    weights = 1 + added
    return weights if valid is None else weights * valid


def label_range(
    labels: Tensor,
    radius: int,
    *,
    valid: Tensor | None = None,
    axes: Sequence[int] = ALL_AXES,
) -> tuple[Tensor, Tensor]:
    """Highest and lowest label in the cube around each voxel.

    Parameters
    ----------
    labels : Tensor of int or bool, shape (N, Z, Y, X)
    radius : int
        Voxels from the centre of a cube to its faces.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Other voxels are in no cube.
    axes : sequence of int
        Axes of Z, Y, X that a cube extends along.

    Returns
    -------
    highest, lowest : Tensor of float32, shape (N, Z, Y, X)
        Minus and plus infinity where a cube has no voxel.
    """
    known = labels.float()
    high, low = known, -known
    if valid is not None:
        high = known.masked_fill(~valid, -torch.inf)
        low = (-known).masked_fill(~valid, -torch.inf)
    return _grown(high, radius, axes), -_grown(low, radius, axes)


def _grown(values: Tensor, radius: int, axes: Sequence[int] = ALL_AXES) -> Tensor:
    """Maximum over the cube around each voxel of (N, Z, Y, X), axis by axis."""
    if radius == 0:
        return values
    for axis in axes:
        reach = [0, 0, 0]
        reach[axis] = min(radius, values.shape[axis + 1])
        size = [2 * r + 1 for r in reach]
        values = F.max_pool3d(values, size, stride=1, padding=reach)
    return values
