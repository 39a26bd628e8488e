"""A slice of what a network finds: image, truth, prediction and error map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.io import imsave

from e2miseg_core.io.atomic import replacing
from e2miseg_core.model_card import LABEL_COLORS

__all__ = [
    "ShownSlice",
    "keep_newest",
    "middle_slice",
    "sample_picture",
    "write_picture",
]

SMALLEST_SIDE = 240  # pixels of a panel
GAP, CAPTION = 4, 22
PANELS = ("image", "truth", "prediction", "expected error")
# Of the classes 1, 2, ...: those of their labels in the viewer.
COLORS = np.array([ImageColor.getrgb(color) for color in LABEL_COLORS])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownSlice:
    """A slice of a case or patch with what was found in it.

    Attributes
    ----------
    image : ndarray, shape (Y, X)
        The first channel.
    truth, predicted : ndarray of int, shape (Y, X)
        Class indices.
    error : ndarray, shape (Y, X)
        Chance of a wrong label by the network's own probabilities, 0 to 1.
    """

    image: NDArray[np.floating]
    truth: NDArray[Any]
    predicted: NDArray[Any]
    error: NDArray[np.floating]


def middle_slice(truth: NDArray[Any]) -> int:
    """The row along Z in the middle of the largest connected structure.

    That of the volume where there is no structure. Faces connect; of structures of one
    size the one that begins first is taken. Holds two slices at a time, and a few
    numbers for each piece that a slice cuts a structure into.
    """
    pieces, links, before, seen = [], [], np.zeros(truth.shape[1:], np.int64), 0
    for row, plane in enumerate(truth):
        numbers, count = ndimage.label(plane > 0)
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        pieces.append(np.stack([sizes, np.full(count, row)]))
        now = np.where(numbers > 0, numbers + seen, 0)  # from 1 on, over all slices
        both = (before > 0) & (now > 0)
        links.append(np.unique(np.stack([before[both], now[both]]), axis=1) - 1)
        before, seen = now, seen + count
    if seen == 0:
        return len(truth) // 2
    sizes, rows = np.concatenate(pieces, axis=1)
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(first.size), (first, second)), (seen, seen))
    _, structure = connected_components(graph, directed=False)
    largest = np.argmax(np.bincount(structure, sizes))
    found: NDArray[np.intp] = np.unique(rows[structure == largest])
    return int(found[len(found) // 2])


def sample_picture(shown: ShownSlice) -> NDArray[np.uint8]:
    """Image, truth, prediction and error map side by side, (rows, columns, 3).

    Each has its name above it.
    """
    grey = _grey(shown.image)
    level = np.clip(shown.error, 0, 1)[..., None] * 255
    panels = [
        grey,
        _coloured(grey, shown.truth),
        _coloured(grey, shown.predicted),
        np.repeat(level, 3, axis=2),
    ]
    factor = max(1, -(-SMALLEST_SIDE // min(grey.shape[:2])))  # a voxel stays a voxel
    large = [p.repeat(factor, axis=0).repeat(factor, axis=1) for p in panels]
    named = [
        np.concatenate([_caption(name, panel.shape[1]), panel])
        for name, panel in zip(PANELS, large, strict=True)
    ]
    gap = np.full((named[0].shape[0], GAP, 3), 255.0)
    joined = np.concatenate([part for p in named for part in (p, gap)][:-1], axis=1)
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


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    """A text on a white strip, (CAPTION, width, 3)."""
    strip = Image.new("RGB", (width, CAPTION), "white")
    font = ImageFont.load_default(size=CAPTION - 8)
    middle = (width // 2, CAPTION // 2)
    ImageDraw.Draw(strip).text(middle, text, "black", font, anchor="mm")
    return np.asarray(strip)


def _coloured(grey: NDArray[np.float64], classes: NDArray[Any]) -> NDArray[np.float64]:
    """Each class in its colour, half transparent."""
    colors = COLORS[(classes.astype(np.intp) - 1) % len(COLORS)]
    mixed: NDArray[np.float64] = np.where(
        classes[..., None] > 0, 0.5 * grey + 0.5 * colors, grey
    )
    return mixed
