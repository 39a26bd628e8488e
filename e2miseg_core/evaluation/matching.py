"""Connected pieces of two masks, and which of them belong together."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from e2miseg_core.evaluation.surface import Mask

__all__ = ["CONNECTIVITY", "find_pieces", "match_pieces", "shared_voxels"]

CONNECTIVITY = {6: 1, 18: 2, 26: 3}  # shared faces; edges too; corners too

# Rows of (predicted piece, reference piece, voxels that they share), from 0.
_Shared = NDArray[np.int64]
_Pair = tuple[NDArray[Any], NDArray[Any]]


def find_pieces(
    mask: NDArray[Any], connectivity: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Number of each voxel's piece, from 1, and the voxels of each piece."""
    if mask.dtype != bool:
        inside = mask > 0
        _, order, voxels = np.unique(
            mask[inside], return_inverse=True, return_counts=True
        )
        numbers = np.zeros(mask.shape, dtype=np.int32)
        numbers[inside] = order.ravel() + 1
        return numbers, voxels
    structure = ndimage.generate_binary_structure(3, CONNECTIVITY[connectivity])
    labels, count = ndimage.label(mask, structure)
    return labels, np.bincount(labels[mask], minlength=count + 1)[1:]


def match_pieces(
    shared: _Shared, sizes: _Pair, wanted: Mask, min_iou: float
) -> tuple[NDArray[np.float64], Mask]:
    """Match pieces by the rules of `lesions`.

    Parameters
    ----------
    shared : int array, shape (pairs, 3)
        Of `shared_voxels`.
    sizes : pair of int arrays
        Voxels of each predicted piece, and of each of the reference.
    wanted : bool array
        Pieces of the reference that count.
    min_iou : float
        0: any shared voxel.

    Returns
    -------
    scores : float array
        Dice of each piece of the reference, 0 if it was not found.
    right : bool array
        Predicted pieces that are no false positives.
    """
    touches, touches_small = (
        _touched(shared, which, sizes[0].size) for which in (wanted, ~wanted)
    )
    if min_iou == 0:
        scores, matched = _dice_of_touching(shared, sizes), touches
    else:
        usable = shared[wanted[shared[:, 1]]]
        scores, matched = _one_to_one(usable, sizes, min_iou)
    return scores, matched | (touches_small & ~touches)


def shared_voxels(
    predicted: NDArray[Any], reference: NDArray[Any], n_reference: int
) -> _Shared:
    """Rows of predicted piece, piece of the reference, voxels that both have."""
    both = (predicted > 0) & (reference > 0)
    codes = (predicted[both].astype(np.int64) - 1) * n_reference
    found, voxels = np.unique(codes + reference[both] - 1, return_counts=True)
    first, second = np.divmod(found, max(1, n_reference))
    return np.stack([first, second, voxels], axis=1)


def _touched(shared: _Shared, wanted: Mask, n_predicted: int) -> Mask:
    """Predicted pieces that share a voxel with a wanted piece of the reference."""
    touched = np.zeros(n_predicted, dtype=bool)
    touched[shared[wanted[shared[:, 1]], 0]] = True
    return touched


def _dice_of_touching(shared: _Shared, sizes: _Pair) -> NDArray[np.float64]:
    """Dice of each piece of the reference with all predicted pieces that touch it.

    A predicted piece below the smallest size still finds what it touches: dropping it
    would turn a found lesion into a missed one.
    """
    overlap, both = np.zeros(sizes[1].size), sizes[1].astype(np.float64)
    np.add.at(overlap, shared[:, 1], shared[:, 2])
    np.add.at(both, shared[:, 1], sizes[0][shared[:, 0]])
    return 2.0 * overlap / np.maximum(both, 1)


def _one_to_one(
    shared: _Shared, sizes: _Pair, min_iou: float
) -> tuple[NDArray[np.float64], Mask]:
    """Dice of each matched piece of the reference, the largest IoU first."""
    scores = np.zeros(sizes[1].size)
    matched = np.zeros(sizes[0].size, dtype=bool)
    both = sizes[0][shared[:, 0]] + sizes[1][shared[:, 1]]
    iou = shared[:, 2] / np.maximum(both - shared[:, 2], 1)
    for row in np.argsort(-iou, kind="stable"):
        first, second, voxels = shared[row]
        if iou[row] >= min_iou and not matched[first] and scores[second] == 0:
            matched[first] = True
            scores[second] = 2.0 * voxels / both[row]
    return scores, matched
