"""A slice of what a network finds: image, truth, prediction and error map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.io import imsave

from e2miseg_core.io.atomic import replacing

__all__ = [
    "ShownCase",
    "keep_newest",
    "middle_slice",
    "sample_picture",
    "write_picture",
]

SMALLEST_SIDE = 240  # pixels of a panel
GAP = 4
# Of the classes 1, 2, ...; told apart by everybody.
COLORS = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownCase:
    """A case or patch with what was found in it.

    Attributes
    ----------
    image : ndarray, shape (Z, Y, X)
        The first channel.
    truth, predicted : ndarray of int, shape (Z, Y, X)
        Class indices.
    error : ndarray, shape (Z, Y, X)
        Chance of a wrong label by the network's own probabilities, 0 to 1.
    """

    image: NDArray[np.floating]
    truth: NDArray[Any]
    predicted: NDArray[Any]
    error: NDArray[np.floating]


def middle_slice(truth: NDArray[Any]) -> int:
    """The row along Z in the middle of the largest connected structure.

    That of the volume where there is no structure.
    """
    if not (truth > 0).any():
        return len(truth) // 2
    parts, _ = ndimage.label(truth > 0)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    rows: NDArray[np.intp] = np.flatnonzero((parts == largest).any(axis=(1, 2)))
    return int(rows[len(rows) // 2])


def sample_picture(shown: ShownCase) -> NDArray[np.uint8]:
    """Image, truth, prediction and error map side by side, (rows, columns, 3)."""
    row = middle_slice(shown.truth)
    grey = _grey(shown.image[row])
    level = np.clip(shown.error[row], 0, 1)[..., None] * 255
    panels = [
        grey,
        _coloured(grey, shown.truth[row]),
        _coloured(grey, shown.predicted[row]),
        np.repeat(level, 3, axis=2),
    ]
    factor = max(1, -(-SMALLEST_SIDE // min(grey.shape[:2])))  # a voxel stays a voxel
    large = [p.repeat(factor, axis=0).repeat(factor, axis=1) for p in panels]
    gap = np.full((large[0].shape[0], GAP, 3), 255.0)
    joined = np.concatenate([part for p in large for part in (p, gap)][:-1], axis=1)
    return joined.astype(np.uint8)


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a PNG; what stood at `path` is replaced."""
    with replacing(path) as partial:
        imsave(partial, picture, check_contrast=False)


def keep_newest(folder: Path, count: int) -> None:
    """Remove all pictures of a folder but the last ones by name."""
    for path in sorted(folder.glob("*.png"))[:-count]:
        path.unlink()


def _grey(plane: NDArray[np.floating]) -> NDArray[np.float64]:
    low, high = np.percentile(plane, [1, 99])
    level = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.repeat(level[..., None].astype(np.float64), 3, axis=2)


def _coloured(grey: NDArray[np.float64], classes: NDArray[Any]) -> NDArray[np.float64]:
    """Each class in its colour, half transparent."""
    colors = COLORS[(classes.astype(np.intp) - 1) % len(COLORS)]
    mixed: NDArray[np.float64] = np.where(
        classes[..., None] > 0, 0.5 * grey + 0.5 * colors, grey
    )
    return mixed
