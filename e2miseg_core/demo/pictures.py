"""Pictures of the demonstration: image, labels and error map side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.io import imsave
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from e2miseg_core.boxes import Box
from e2miseg_core.geometry import Geometry
from e2miseg_core.model_card import LabelInfo

__all__ = ["Stage", "write_picture"]

SHOWN_FROM, SHOWN_TO = 0.05, 0.6  # of the error map, as in the window
MAGENTA = (240, 0, 190)  # which no class of a starter model has
WHITE = (255, 255, 255)
PANEL_HEIGHT = 480  # pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """A case as it stands.

    Attributes
    ----------
    labels : ndarray of int, shape (Z, Y, X)
    errors : ndarray of float32, shape (Z, Y, X)
        Chance that each label is wrong.
    boxes : sequence of Box
        Uncertain edges, to be outlined.
    """

    labels: NDArray[Any]
    errors: NDArray[np.float32]
    boxes: Sequence[Box] = ()


def write_picture(
    path: Path,
    image: NDArray[Any],
    geometry: Geometry,
    classes: Sequence[LabelInfo],
    stage: Stage,
    row: int,
) -> None:
    """Write one slice three times: the image, the labels, the error map with edges.

    Parameters
    ----------
    path : Path
        Replaced where it exists.
    image : ndarray, shape (Z, Y, X)
    geometry : Geometry
        Of the image.
    classes : sequence of LabelInfo
    stage : Stage
    row : int
        Slice along Z.
    """
    grey = _grey(image[row], image)
    height = geometry.spacing[1] / geometry.spacing[2]
    errors = _with_errors(grey, stage.errors[row])
    for (z0, z1), y, x in stage.boxes:
        if z0 <= row < z1:
            _outline(errors, y, x)
    panels = [grey, _with_labels(grey, stage.labels[row], classes), errors]
    shape = grey.shape[:2]
    size = (PANEL_HEIGHT, round(PANEL_HEIGHT * shape[1] / (shape[0] * height)))
    # Nearest neighbour: a voxel stays a voxel.
    scaled = [
        resize(panel, size, order=0, preserve_range=True)  # type: ignore[no-untyped-call]
        for panel in panels
    ]
    joined = np.concatenate(scaled, axis=1)
    imsave(path, np.clip(joined, 0, 255).astype(np.uint8), check_contrast=False)


def _outline(
    plane: NDArray[np.float64], y: tuple[int, int], x: tuple[int, int]
) -> None:
    """Draw the rim of a box into a plane (Y, X, 3)."""
    plane[y[0] : y[1], [x[0], x[1] - 1]] = WHITE
    plane[[y[0], y[1] - 1], x[0] : x[1]] = WHITE


def _grey(plane: NDArray[Any], image: NDArray[Any]) -> NDArray[np.float64]:
    low, high = np.percentile(image, [1, 99.5])
    level = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.repeat(level[..., None].astype(np.float64), 3, axis=2)


def _with_labels(
    grey: NDArray[np.float64], labels: NDArray[Any], classes: Sequence[LabelInfo]
) -> NDArray[np.float64]:
    shown = grey.copy()
    for label in classes:
        color = [int(label.color[i : i + 2], 16) for i in (1, 3, 5)]
        mask = labels == label.value
        edge = find_boundaries(mask, mode="inner")  # type: ignore[no-untyped-call]
        shown[mask] *= 0.8
        shown[mask] += 0.2 * np.array(color)
        shown[edge] = color
    return shown


def _with_errors(
    grey: NDArray[np.float64], errors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Magenta as in the window, stronger with the chance of error; none below 5 %."""
    level = np.clip((errors - SHOWN_FROM) / (SHOWN_TO - SHOWN_FROM), 0, 1)[..., None]
    color = np.array(MAGENTA, dtype=np.float32)
    opacity = np.where(errors[..., None] > SHOWN_FROM, 0.35 + 0.55 * level, 0)
    mixed: NDArray[np.float64] = grey * (1 - opacity) + color * opacity
    return mixed
