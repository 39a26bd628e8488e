"""Cases on the model's grid, normalised once and read patch by patch afterwards."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    ScalarT,
    box_slices,
    clip_box,
    pad_to_box,
    whole_box,
)
from e2miseg_core.errors import DatasetError
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.preprocess import (
    ModelView,
    Normalization,
    measure_normalization,
    resample_box,
)
from e2miseg_core.progress import run
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.volume import Volume

__all__ = [
    "ModelGrid",
    "PreparedCase",
    "open_case",
    "prepare_case",
    "prepare_volume",
    "read_padded",
]

MAX_CLASSES = 256  # class indices are bytes
MAX_COORDINATES = 5000  # of a class, kept for foreground oversampling


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedCase:
    """A case on the model's grid; arrays are memory-mapped.

    Attributes
    ----------
    name : str
    image : ndarray of float32, shape (C, Z, Y, X)
        Normalised.
    classes : ndarray of uint8, shape (Z, Y, X)
        Class index of each voxel, 0 is background.
    foreground : tuple of ndarray of int, each (N, 3)
        Some voxels (Z, Y, X) of every foreground class that occurs.
    """

    name: str
    image: NDArray[np.float32]
    classes: NDArray[np.uint8]
    foreground: tuple[NDArray[np.intp], ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels, ZYX."""
        z, y, x = self.classes.shape
        return z, y, x

    def read(self, box: Box) -> NDArray[np.float32]:
        """One box (C, z, y, x) of the image, 0 outside."""
        return read_padded(self.image, box)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGrid:
    """What cases are brought to.

    Attributes
    ----------
    values : tuple of int
        Label value of each foreground class.
    spacing : tuple of float
        ZYX, mm.
    normalizations : tuple of Normalization
        One a channel.
    """

    values: tuple[int, ...]
    spacing: tuple[float, ...]
    normalizations: tuple[Normalization, ...]


def read_padded(array: NDArray[ScalarT], box: Box) -> NDArray[ScalarT]:
    """A box of the last three axes of `array`, zeros where it reaches outside."""
    inner = clip_box(box, array.shape[-3:])
    z, y, x = box_slices(inner)
    return pad_to_box(np.asarray(array[..., z, y, x]), inner, box)


def open_case(case: Case) -> tuple[Volume, Volume]:
    """Image and labels of a case, on one grid.

    Raises
    ------
    DatasetError
        If the grids differ.
    """
    if len(case.images) != 1:
        raise DatasetError(
            found=f"{len(case.images)} image files for the case {case.name}",
            needed="one file; several channels may stand in one 4D file",
            do="join the channels into one file",
        )
    image, labels = open_volume(case.images[0]), open_labels(case.labels)
    # Rounding in text headers moves a far corner by up to a tenth of a voxel.
    if not image.geometry.matches(labels.geometry, tolerance=1e-3, voxels=0.1):
        raise DatasetError(
            found=f"{case.name}: image and labels on different grids, "
            f"{image.geometry.shape} and {labels.geometry.shape} voxels",
            needed="the same shape and position",
            do="resample one onto the other, or leave the case out",
        )
    return image, labels


def prepare_case(
    case: Case,
    dataset: Dataset,
    spacing: Sequence[float],
    normalizations: Sequence[Normalization],
    folder: Path,
) -> PreparedCase:
    """Bring a case to the model's grid and keep it in `folder`.

    What is there already is read, not made again.
    """
    return prepare_volume(
        case.name,
        lambda: open_case(case),
        grid=ModelGrid(
            values=tuple(label.value for label in dataset.labels),
            spacing=tuple(spacing),
            normalizations=tuple(normalizations),
        ),
        origin=[
            [str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns]
            for f in (*case.images, case.labels)
        ],
        folder=folder,
    )


def prepare_volume(
    name: str,
    open_volumes: Callable[[], tuple[Volume, Volume]],
    *,
    grid: ModelGrid,
    origin: Sequence[object],
    folder: Path,
) -> PreparedCase:
    """Bring image and labels to the model's grid and keep them in `folder`.

    A file that names the origin is written last, so that an interrupted preparation
    is repeated.

    Parameters
    ----------
    name : str
    open_volumes : callable
        Gives image and labels; called only where they are not there yet.
    grid : ModelGrid
    origin : sequence
        JSON values that change when the volumes do.
    folder : Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    image_path, classes_path = (
        folder / f"{name}.{kind}.npy" for kind in ("image", "classes")
    )
    done = folder / f"{name}.json"
    fingerprint = _fingerprint(origin, grid)
    if not done.is_file() or done.read_text(encoding="utf-8") != fingerprint:
        done.unlink(missing_ok=True)
        volume, labels = open_volumes()
        rules = run(measure_normalization(volume.data, grid.normalizations))
        view = ModelView(volume, grid.spacing, rules)
        np.save(image_path, view.read(whole_box(view.shape)))
        np.save(classes_path, _classes(labels, grid.values, view.shape))
        done.write_text(fingerprint, encoding="utf-8")
    image = np.load(image_path, mmap_mode="r", allow_pickle=False)
    classes = np.load(classes_path, mmap_mode="r", allow_pickle=False)
    return PreparedCase(
        name=name,
        image=image,
        classes=classes,
        foreground=_foreground(classes, len(grid.values)),
    )


def _classes(
    labels: Volume, values: Sequence[int], shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Class indices on the model's grid: each class is resampled, the largest wins."""
    stored = np.asarray(labels.data[0])
    known = [0, *values]
    if len(known) > MAX_CLASSES:
        raise DatasetError(
            found=f"{len(known)} classes",
            needed=f"at most {MAX_CLASSES}, background included",
            do="join labels",
        )
    unknown = np.setdiff1d(np.unique(stored), known)
    if unknown.size:
        place = f" in {labels.source.uri}" if labels.source else ""
        raise DatasetError(
            found=f"the label values {unknown[:5].tolist()}{place}",
            needed=f"values out of {known}",
            do="name them in dataset.json, or correct the labels",
        )
    masks = np.stack([stored == value for value in known])

    def read(box: Box) -> NDArray[np.bool_]:
        return masks[(slice(None), *box_slices(box))]

    resampled = resample_box(read, stored.shape, shape, whole_box(shape))
    classes: NDArray[np.uint8] = resampled.argmax(axis=0).astype(np.uint8)
    return classes


def _foreground(
    classes: NDArray[np.uint8], n_labels: int
) -> tuple[NDArray[np.intp], ...]:
    found = []
    for index in range(1, n_labels + 1):
        voxels = np.argwhere(classes == index)
        if len(voxels):
            # Every n-th voxel: even over the structure, and the same each time.
            found.append(voxels[:: 1 + len(voxels) // MAX_COORDINATES])
    return tuple(found)


def _fingerprint(origin: Sequence[object], grid: ModelGrid) -> str:
    return json.dumps(
        {
            "files": list(origin),
            "labels": list(grid.values),
            "spacing": list(grid.spacing),
            "normalizations": [rule.to_json() for rule in grid.normalizations],
        }
    )
