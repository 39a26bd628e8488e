"""Cases on the model's grid, normalised once and read patch by patch afterwards."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, ScalarT, box_slices, clip_box, pad_to_box
from e2miseg_core.errors import DatasetError, WriteError
from e2miseg_core.io.atomic import replacing, writing_to
from e2miseg_core.preprocess import ModelView, Normalization, measure_normalization
from e2miseg_core.progress import Job, Progress
from e2miseg_core.training.array_file import (
    ArrayFile,
    partial_names,
    put,
    remove_abandoned,
)
from e2miseg_core.training.case_files import open_case, origin_of
from e2miseg_core.training.classes import check_classes, class_box
from e2miseg_core.training.dataset import Case, Dataset
from e2miseg_core.training.foreground import (
    load_foreground,
    sample_foreground,
    save_foreground,
)
from e2miseg_core.volume import Volume

__all__ = [
    "ModelGrid",
    "PreparedCase",
    "prepare_case",
    "prepare_cases",
    "prepare_volume",
    "read_padded",
]

BLOCK_VOXELS = 4 << 20  # of all channels, made at once: 16 MiB, some of them needed
VERSION = 2  # of the files; others are made anew


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


def prepare_case(
    case: Case,
    dataset: Dataset,
    spacing: Sequence[float],
    normalizations: Sequence[Normalization],
    folder: Path,
) -> Job[PreparedCase]:
    """Bring a case to the model's grid and keep it in `folder`.

    What is there already is read, not made again. See `prepare_volume`.
    """
    return prepare_volume(
        case.name,
        lambda: open_case(case),
        grid=ModelGrid(
            values=tuple(label.value for label in dataset.labels),
            spacing=tuple(spacing),
            normalizations=tuple(normalizations),
        ),
        origin=origin_of(case),
        folder=folder,
    )


def prepare_cases(
    cases: Sequence[Case],
    dataset: Dataset,
    spacing: Sequence[float],
    normalizations: Sequence[Normalization],
    folder: Path,
) -> Job[list[PreparedCase]]:
    """`prepare_case` for each of some cases."""
    prepared = []
    for number, case in enumerate(cases, start=1):
        yield Progress(done=number, total=len(cases), stage="preparing cases")
        made = yield from prepare_case(case, dataset, spacing, normalizations, folder)
        prepared.append(made)
    return prepared


def prepare_volume(
    name: str,
    open_volumes: Callable[[], tuple[Volume, Volume]],
    *,
    grid: ModelGrid,
    origin: Sequence[object],
    folder: Path,
) -> Job[PreparedCase]:
    """Bring image and labels to the model's grid and keep them in `folder`.

    Memory does not grow with the volumes. Files get their names when they are whole,
    and one that names the origin comes last: an interrupted preparation is repeated,
    and processes that prepare the same case at the same time do not meet.

    Parameters
    ----------
    name : str
    open_volumes : callable
        Gives image and labels; called only where they are not there yet.
    grid : ModelGrid
    origin : sequence
        JSON values that change when the volumes do.
    folder : Path

    Yields
    ------
    Progress
        Before every block, where there are several.

    Raises
    ------
    DatasetError
        If there are labels without a class.
    WriteError
        If the disk is full.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = _Files(folder, name, _fingerprint(origin, grid))
    if not files.are_done():
        check_classes([0, *grid.values])
        remove_abandoned(folder, name)
        yield from _make(files, *open_volumes(), grid)
    return PreparedCase(
        name=name,
        image=np.load(files.image, mmap_mode="r", allow_pickle=False),
        classes=np.load(files.classes, mmap_mode="r", allow_pickle=False),
        foreground=load_foreground(files.foreground),
    )


class _Files:
    """The files of a prepared case."""

    def __init__(self, folder: Path, name: str, fingerprint: str) -> None:
        self.name = name
        self.image = folder / f"{name}.image.npy"
        self.classes = folder / f"{name}.classes.npy"
        self.foreground = folder / f"{name}.foreground.npz"
        self._done = folder / f"{name}.json"
        self._fingerprint = fingerprint

    def are_done(self) -> bool:
        """Whether all is there, made of the same."""
        try:
            return self._done.read_text(encoding="utf-8") == self._fingerprint
        except (OSError, ValueError):
            return False

    def finish(self, image: Path, classes: Path, foreground: Path) -> None:
        """Give the files their names."""
        try:
            self._done.unlink(missing_ok=True)
            put(image, self.image)
            put(classes, self.classes)
            put(foreground, self.foreground)
            with replacing(self._done) as partial:
                partial.write_text(self._fingerprint, encoding="utf-8")
        except (OSError, WriteError):
            # Another process was faster, and reads what we cannot replace then.
            if not self.are_done():
                raise


def _make(files: _Files, volume: Volume, labels: Volume, grid: ModelGrid) -> Job[None]:
    """Make the files of a case, block by block."""
    rules = yield from measure_normalization(volume.data, grid.normalizations)
    view = ModelView(volume, grid.spacing, rules)
    blocks = list(_blocks(view.shape, volume.geometry.shape, volume.n_channels))
    with partial_names(files.image, files.classes, files.foreground) as partial:
        image, classes, foreground = partial
        with (
            ArrayFile(image, (volume.n_channels, *view.shape), np.float32) as images,
            ArrayFile(classes, view.shape, np.uint8) as indices,
        ):
            for number, box in enumerate(blocks):
                if len(blocks) > 1:
                    yield Progress(
                        done=number, total=len(blocks), stage=f"preparing {files.name}"
                    )
                indices.write(box, _classes(labels, grid.values, view, box))
                images.write(box, view.read(box))
        stored = np.load(classes, mmap_mode="r", allow_pickle=False)
        save_foreground(foreground, sample_foreground(stored, len(grid.values)))
        del stored  # Windows renames no file that is mapped
        files.finish(*partial)


def _classes(
    labels: Volume, values: Sequence[int], view: ModelView, box: Box
) -> NDArray[np.uint8]:
    """Class indices of a box of the model's grid."""
    data = labels.data[0]
    try:
        return class_box(
            lambda source: np.asarray(data[box_slices(source)]),
            [0, *values],
            labels.geometry.shape,
            view.shape,
            box,
        )
    except DatasetError as error:
        place = f" in {labels.source.uri}" if labels.source else ""
        raise DatasetError(
            found=error.found + place, needed=error.needed, do=error.do
        ) from None


def _blocks(
    shape: Sequence[int], source: Sequence[int], n_channels: int
) -> Iterator[Box]:
    """Boxes that reach over all of X and hold about so many voxels on either grid."""
    depth, height, width = shape
    # A coarser grid is made of more voxels than it has.
    scale = math.prod(max(1.0, n / m) for n, m in zip(source, shape, strict=True))
    row = max(1.0, width * n_channels * scale)
    rows = int(min(height, max(1, BLOCK_VOXELS // row)))
    planes = int(min(depth, max(1, BLOCK_VOXELS // (row * height))))
    for z in range(0, depth, planes):
        for y in range(0, height, rows):
            yield (
                (z, min(z + planes, depth)),
                (y, min(y + rows, height)),
                (0, width),
            )


def _fingerprint(origin: Sequence[object], grid: ModelGrid) -> str:
    return json.dumps(
        {
            "version": VERSION,
            "files": list(origin),
            "labels": list(grid.values),
            "spacing": list(grid.spacing),
            "normalizations": [rule.to_json() for rule in grid.normalizations],
        }
    )
