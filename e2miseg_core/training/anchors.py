"""Anchors: what the old model is sure of, away from all corrections.

They tell a fine-tuning what must not change, where the cases of the first training
cannot be had, and test every new model.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, clip_box, make_box, overlap
from e2miseg_core.inference.engine import TilePredictor, stream_probabilities
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project.sites import Site
from e2miseg_core.training.crops import (
    Crop,
    KnownCase,
    centred_box,
    cut_crop,
    load_crop,
    save_crop,
)
from e2miseg_core.training.exam import CONFIDENT
from e2miseg_core.training.patches import sample_generator
from e2miseg_core.training.prepare import read_padded
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.error_map import expected_error

__all__ = ["cut_anchors", "label_anchors"]

Triple = tuple[int, int, int]
Slab = NDArray[np.float32]
TRIES = 12  # places drawn for an anchor; the one that touches fewest sites is taken
LOOK = 48  # voxels along an edge of what is searched for foreground
OVERLAP = 0.5  # of tiles, as in prediction


def cut_anchors(
    cases: Sequence[KnownCase],
    sites: Sequence[Site],
    *,
    size: Triple,
    paths: Sequence[Path],
    seed: int,
) -> Job[None]:
    """Cut crops at random places, every other one at foreground; known voxels out.

    Parameters
    ----------
    cases : sequence of KnownCase
        Taken in turn.
    sites : sequence of Site
        Places to stay away from as far as the volumes allow.
    size : tuple of 3 int
        Voxels of a crop.
    paths : sequence of Path
        Where they go; what is there already is left.
    seed : int
    """
    for index, path in enumerate(paths):
        yield Progress(done=index, total=len(paths), stage="preparing")
        if path.exists():
            continue
        case = cases[index % len(cases)]
        taken = [case.to_model(s.box) for s in sites if s.case == case.name]
        random = sample_generator(seed, index, 0)
        place = _place(case, taken, size, random, foreground=index % 2 == 0)
        save_crop(path, _unknown_only(cut_crop(case, place), case, place))


def label_anchors(
    paths: Sequence[Path],
    predictor: TilePredictor,
    *,
    patch_size: Triple,
    n_classes: int,
    calibration: Calibration,
) -> Job[None]:
    """Give anchors the old model's labels, valid where it expects to be right.

    A crop is replaced in one step, so this may be repeated: labels depend on the image
    alone, and what was not valid does not become so.
    """
    for number, path in enumerate(paths):
        crop = load_crop(path)
        shape: Triple = crop.classes.shape
        found = np.empty((n_classes, *shape), np.float32)

        def keep(first: int, slab: Slab, found: Slab = found) -> None:
            found[:, first : first + slab.shape[1]] = slab

        grid = TileGrid(shape=shape, patch_size=patch_size, overlap=OVERLAP)
        for _ in stream_probabilities(
            predictor, _CropImage(crop), grid, n_classes, keep
        ):
            yield Progress(done=number, total=len(paths), stage="preparing")
        classes = found.argmax(axis=0)
        sure = expected_error(found, classes, calibration) < CONFIDENT
        labelled = replace(
            crop, classes=classes.astype(np.uint8), valid=sure & crop.valid
        )
        save_crop(path, labelled)


class _CropImage:
    """A crop's image, read as a volume is."""

    def __init__(self, crop: Crop) -> None:
        self._image = crop.image

    def read(self, box: Box) -> Slab:
        """One box, 0 outside."""
        return read_padded(self._image, box)


def _place(
    case: KnownCase,
    taken: Sequence[Box],
    size: Triple,
    random: np.random.Generator,
    *,
    foreground: bool,
) -> Box:
    shape = case.view.shape
    found: list[tuple[int, Box]] = []
    while len(found) < TRIES and not any(touched == 0 for touched, _ in found):
        centre = [int(random.integers(n)) for n in shape]
        if foreground:
            centre = _labelled(case, centre, random) or centre
        place = _inside(centred_box(make_box(centre, (1, 1, 1)), size), shape)
        found.append((sum(overlap(place, box) for box in taken), place))
    return min(found, key=lambda entry: entry[0])[1]


def _labelled(
    case: KnownCase, centre: Sequence[int], random: np.random.Generator
) -> list[int] | None:
    """A voxel of the model's grid with a label, near a place; None if there is none."""
    ratio = [n / m for n, m in zip(case.shape, case.view.shape, strict=True)]
    source = [int(c * r) for c, r in zip(centre, ratio, strict=True)]
    around = clip_box(centred_box(make_box(source, (1, 1, 1)), (LOOK,) * 3), case.shape)
    found = np.argwhere(np.asarray(case.labels[box_slices(around)]) > 0)
    if not len(found):
        return None
    voxel = found[int(random.integers(len(found)))]
    return [
        int((v + lo + 0.5) / r)
        for v, (lo, _), r in zip(voxel, around, ratio, strict=True)
    ]


def _inside(place: Box, shape: Triple) -> Box:
    """Move a box into the volume; where that is smaller, to its middle."""
    size = [hi - lo for lo, hi in place]
    start = [
        int(np.clip(lo, 0, n - s)) if s < n else -((s - n) // 2)
        for (lo, _), s, n in zip(place, size, shape, strict=True)
    ]
    return make_box(start, size)


def _unknown_only(crop: Crop, case: KnownCase, place: Box) -> Crop:
    """What people have said is not an anchor; nor is what lies outside the volume."""
    inner = clip_box(place, case.view.shape)
    inside = np.zeros(crop.classes.shape, np.bool_)
    z, y, x = (
        slice(a - lo, b - lo) for (a, b), (lo, _) in zip(inner, place, strict=True)
    )
    inside[z, y, x] = True
    return replace(crop, valid=inside & ~crop.valid)
