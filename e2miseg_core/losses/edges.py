"""Edges of labels, and the loss of an edge head (specification B.6, B.9)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from e2miseg_core.losses.binary import bce_dice_loss
from e2miseg_core.losses.boundary import ALL_AXES, label_range
from e2miseg_core.losses.lovasz import lovasz_softmax
from e2miseg_core.losses.settings import LossSettings, check_edge_width

__all__ = ["edge_loss", "edge_target"]


@torch.no_grad()
def edge_target(
    labels: Tensor,
    width: int = 2,
    *,
    union: bool = False,
    valid: Tensor | None = None,
    axes: Sequence[int] = ALL_AXES,
) -> Tensor:
    """The morphological gradient of labels: dilation minus erosion by cubes.

    Made where labels are used, after augmentation, so that it fits them.

    Parameters
    ----------
    labels : Tensor of int, shape (N, Z, Y, X)
    width : int
        Thickness of the edge in voxels. A class is dilated by half of it, rounded
        down, and eroded by the rest: 1 is its outermost layer of voxels, 2 the usual
        gradient by a 3 x 3 x 3 cube with a layer on either side.
    union : bool
        All foreground classes are one; else edges of each class are united, and
        there are some between classes that touch.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels whose label is known; others make no edge and have none.
    axes : sequence of int
        Axes of Z, Y, X that cubes extend along; two of them for edges of slices.

    Returns
    -------
    Tensor of bool, shape (N, Z, Y, X)

    Raises
    ------
    ConfigError
        For a width below 1.

    Notes
    -----
    Specification B.6 asks for widths 1, 3 and 5 and recommends the 3 x 3 gradient,
    which is 2 wide: hence thickness is what is counted. No class is looked at on its
    own: a cube has an edge of some class in it where its labels differ.
    """
    check_edge_width(width)
    if union:
        labels = labels > 0
    outside, inside = width // 2, width - width // 2
    highest, lowest = label_range(labels, inside, valid=valid, axes=axes)
    found = highest > lowest
    if outside < inside:  # cubes that reach no class are outside of all dilated ones
        found &= label_range(labels, outside, valid=valid, axes=axes)[0] > 0
    return found if valid is None else found & valid


def edge_loss(
    edges: Tensor,
    labels: Tensor,
    settings: LossSettings,
    valid: Tensor | None = None,
    *,
    axes: Sequence[int] = ALL_AXES,
) -> Tensor:
    """Lovász-softmax, or cross-entropy and Dice, of an edge head.

    Parameters
    ----------
    edges : Tensor, shape (N, 2, Z, Y, X)
        Logits of (no edge, edge).
    labels : Tensor of int, shape (N, Z, Y, X)
        Of which the target is made.
    settings : LossSettings
        Width and kind of the target, form of the loss.
    valid : Tensor of bool, shape (N, Z, Y, X), optional
        Voxels whose label is known. A voxel counts if it is one of these and either
        is an edge, or has only known ones so near that there can be none.
    axes : sequence of int
        See `edge_target`.

    Returns
    -------
    Tensor, shape ()
        At least 0; 0 where no voxel counts.
    """
    width = settings.edge_width
    target = edge_target(
        labels, width, union=settings.edge_union, valid=valid, axes=axes
    )
    if valid is not None:
        _, all_known = label_range(valid, width - width // 2, axes=axes)
        valid = valid & (target | (all_known > 0))
    if settings.edge_loss == "bce_dice":
        return bce_dice_loss(edges, target, valid=valid)
    return lovasz_softmax(edges, target, valid=valid)
