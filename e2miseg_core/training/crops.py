"""Crops around places that are known: image, classes, and which voxels count.

A fine-tuning reads its cases once, crop by crop, and never again: memory and time do
not depend on the size of the volumes, and what people paint meanwhile changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    box_slices,
    clip_box,
    hide_boxes,
    make_box,
    pad_to_box,
)
from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import replacing, writing_to
from e2miseg_core.preprocess import ModelView
from e2miseg_core.training.classes import class_box

__all__ = [
    "Crop",
    "CropSampler",
    "KnownCase",
    "centred_box",
    "crop_size",
    "cut_crop",
    "load_crop",
    "save_crop",
]

Triple = tuple[int, int, int]
ROOM = 0.125  # of a patch's edge on either side: what is known stays well inside


class Readable(Protocol):
    """An array (Z, Y, X) that is read piece by piece, such as a zarr array."""

    def __getitem__(self, key: Any) -> Any:
        """Read a piece."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Crop:
    """A piece of a case on the model's grid.

    Attributes
    ----------
    image : ndarray of float32, shape (C, Z, Y, X)
    classes : ndarray of uint8, shape (Z, Y, X)
    valid : ndarray of bool, shape (Z, Y, X)
        Which voxels count.
    """

    image: NDArray[np.float32]
    classes: NDArray[np.uint8]
    valid: NDArray[np.bool_]

    def cut(self, box: Box) -> "Crop":
        """A piece of it."""
        z, y, x = box_slices(box)
        return Crop(
            image=self.image[:, z, y, x],
            classes=self.classes[z, y, x],
            valid=self.valid[z, y, x],
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class KnownCase:
    """A case with labels of which some voxels are known to be right.

    Attributes
    ----------
    name : str
    view : ModelView
        Its image.
    labels : array of int, shape (Z, Y, X)
        On the volume's grid.
    authority : array of int, shape (Z, Y, X)
        Above 0 where the label is known.
    values : tuple of int
        Label value of each class of the model, background first.
    """

    name: str
    view: ModelView
    labels: Readable
    authority: Readable
    values: tuple[int, ...]

    @property
    def shape(self) -> Triple:
        """Voxels of the volume's grid, ZYX."""
        return self.view.volume.geometry.shape

    def to_model(self, box: Box) -> Box:
        """The voxels of the model's grid that a box of the volume touches."""
        z, y, x = (
            (int(np.floor(lo * m / n)), int(np.ceil(hi * m / n)))
            for (lo, hi), n, m in zip(box, self.shape, self.view.shape, strict=True)
        )
        return z, y, x


def crop_size(patch_size: Sequence[int]) -> Triple:
    """Voxels of a crop to train on, ZYX: a patch, and room to move it."""
    z, y, x = (p + 2 * max(p > 2, int(p * ROOM)) for p in patch_size)
    return z, y, x


def centred_box(box: Box, size: Sequence[int]) -> Box:
    """The box of `size` voxels with the centre of `box`; may reach outside."""
    return make_box(
        [(lo + hi - n) // 2 for (lo, hi), n in zip(box, size, strict=True)], size
    )


def cut_crop(
    case: KnownCase,
    place: Box,
    *,
    within: Box | None = None,
    hidden: Sequence[Box] = (),
) -> Crop:
    """Read one crop.

    Parameters
    ----------
    case : KnownCase
    place : Box
        Voxels of the model's grid; may reach outside, where nothing is known.
    within : Box, optional
        Of the volume's grid: only its voxels count.
    hidden : sequence of Box
        Of the volume's grid: their voxels do not count.
    """
    inner = clip_box(place, case.view.shape)
    known = _known(case, inner, within, hidden)
    return Crop(
        image=case.view.read(place),
        classes=pad_to_box(_classes(case, inner), inner, place),
        valid=pad_to_box(known, inner, place),
    )


def _classes(case: KnownCase, inner: Box) -> NDArray[np.uint8]:
    """Class indices on the model's grid; values that it does not know are of none."""
    return class_box(
        lambda box: np.asarray(case.labels[box_slices(box)]),
        case.values,
        case.shape,
        case.view.shape,
        inner,
        only_known=False,
    )


def _known(
    case: KnownCase, inner: Box, within: Box | None, hidden: Sequence[Box]
) -> NDArray[np.bool_]:
    """Which voxels of the model's grid lie nearest to one that is known."""
    if any(hi <= lo for lo, hi in inner):
        return np.zeros([max(0, hi - lo) for lo, hi in inner], np.bool_)
    nearest = [
        np.minimum(((np.arange(*bounds) + 0.5) * n / m).astype(np.intp), n - 1)
        for bounds, n, m in zip(inner, case.shape, case.view.shape, strict=True)
    ]
    z, y, x = ((int(index[0]), int(index[-1]) + 1) for index in nearest)
    block: Box = (z, y, x)
    known = np.asarray(case.authority[box_slices(block)]) > 0
    if within is not None:
        kept = known.copy()
        hide_boxes(kept, block, [within])
        known &= ~kept
    hide_boxes(known, block, hidden)
    found: NDArray[np.bool_] = known[
        np.ix_(*(i - lo for i, (lo, _) in zip(nearest, block, strict=True)))
    ]
    return found


def save_crop(path: Path, crop: Crop) -> None:
    """Write a crop in one step; WriteError where that fails."""
    arrays: dict[str, NDArray[Any]] = {
        field.name: getattr(crop, field.name) for field in fields(crop)
    }
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_crop(path: Path) -> Crop:
    """Read what `save_crop` wrote; ReadError where it is missing or damaged."""
    try:
        # np.load given a path leaves the file open where it is damaged.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return Crop(**{field.name: file[field.name] for field in fields(Crop)})
    except (OSError, ValueError, LookupError, EOFError, BadZipFile) as error:
        raise ReadError(
            found=f"no usable crop in {path} ({error!s:.200})",
            needed="the job's folder as it was written",
            do="start the fine-tuning anew",
        ) from error


class CropSampler:
    """Random patches out of stored crops.

    Parameters
    ----------
    paths : sequence of Path
        Crops of `crop_size(patch_size)` voxels; each is as likely as any other.
    patch_size : tuple of 3 int
    """

    def __init__(self, paths: Sequence[Path], patch_size: Triple) -> None:
        self.paths = tuple(paths)
        self._size = patch_size

    def sample(self, random: np.random.Generator) -> Crop:
        """One patch of a crop."""
        crop = load_crop(self.paths[int(random.integers(len(self.paths)))])
        start = [
            int(random.integers(n - size + 1))
            for n, size in zip(crop.classes.shape, self._size, strict=True)
        ]
        return crop.cut(make_box(start, self._size))
