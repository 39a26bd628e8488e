"""Label values as class indices on the model's grid, box by box."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_shape
from e2miseg_core.errors import DatasetError
from e2miseg_core.preprocess import axis_plan, resample_box

__all__ = ["MAX_CLASSES", "check_classes", "class_box"]

MAX_CLASSES = 256  # class indices are bytes
ReadLabels = Callable[[Box], NDArray[Any]]


def check_classes(values: Sequence[int]) -> None:
    """Raise DatasetError where there are more values than class indices."""
    if len(values) > MAX_CLASSES:
        raise DatasetError(
            found=f"{len(values)} classes",
            needed=f"at most {MAX_CLASSES}, background included",
            do="join labels",
        )


def class_box(
    read: ReadLabels,
    values: Sequence[int],
    source_shape: Sequence[int],
    target_shape: Sequence[int],
    box: Box,
    *,
    only_known: bool = True,
) -> NDArray[np.uint8]:
    """Class indices of a box: each class is resampled, the largest share wins.

    Parameters
    ----------
    read : callable
        Gives the label values (z, y, x) of a box of the source grid.
    values : sequence of int
        Label value of each class, background first.
    source_shape, target_shape : sequence of 3 int
        Voxels of both grids, ZYX; their outer edges coincide.
    box : Box
        Voxels of the target grid.
    only_known : bool
        Whether other values are an error; else they belong to no class.

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        Of equal shares the first class.

    Raises
    ------
    DatasetError
        If there is a value that no class has.
    """
    same = tuple(source_shape) == tuple(target_shape)
    bounds = [
        axis_plan(n, m, wanted)[0] if wanted[1] > wanted[0] else (0, 0)
        for n, m, wanted in zip(source_shape, target_shape, box, strict=True)
    ]
    z, y, x = bounds
    stored = _indices(np.asarray(read((z, y, x))), values, only_known=only_known)
    if same:
        return stored.clip(min=0).astype(np.uint8)
    best = np.zeros(box_shape(box), np.float32)
    classes = np.zeros(best.shape, np.uint8)
    for index in np.unique(stored[stored >= 0]).tolist():
        share = resample_box(
            partial(_is_class, stored, index), source_shape, target_shape, box
        )[0]
        larger = share > best
        classes[larger] = index
        np.copyto(best, share, where=larger)
    return classes


def _is_class(stored: NDArray[np.int16], index: int, _: Box) -> NDArray[np.bool_]:
    """One class as a channel (1, z, y, x); the box is the one that was read."""
    found: NDArray[np.bool_] = stored == index
    return found[None]


def _indices(
    labels: NDArray[Any], values: Sequence[int], *, only_known: bool
) -> NDArray[np.int16]:
    """The class of each label value, -1 where there is none."""
    order = np.argsort(values)
    known = np.asarray(values)[order]
    place = np.searchsorted(known, labels).clip(max=len(known) - 1)
    wrong = known[place] != labels
    if only_known and wrong.any():
        raise DatasetError(
            found=f"the label values {np.unique(labels[wrong])[:5].tolist()}",
            needed=f"values out of {list(values)}",
            do="name them in dataset.json, or correct the labels",
        )
    classes: NDArray[np.int16] = order.astype(np.int16)[place]
    classes[wrong] = -1
    return classes
