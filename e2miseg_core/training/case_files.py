"""The files of a labelled case: opening them, and telling whether they changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import DatasetError
from e2miseg_core.io import Address, open_channels, open_labels, open_volume
from e2miseg_core.training.dataset import Case
from e2miseg_core.volume import Volume

__all__ = ["open_case", "origin_of"]


def open_case(case: Case) -> tuple[Volume, Volume]:
    """Image and labels of a case, on one grid: that of its first image.

    Further images are further channels. On grids of their own they are read at the
    first one's voxels, as prediction does.

    Raises
    ------
    DatasetError
        If image and labels lie on different grids.
    ReadError, GeometryError
        If a file cannot be read, or a channel shows another place.
    """
    if len(case.images) == 1:
        image = open_volume(case.images[0])
    else:
        image = open_channels({f"{n:04d}": s for n, s in enumerate(case.images)})
    labels = open_labels(case.labels)
    # Rounding in text headers moves a far corner by up to a tenth of a voxel.
    if not image.geometry.matches(labels.geometry, tolerance=1e-3, voxels=0.1):
        raise DatasetError(
            found=f"{case.name}: image and labels on different grids, "
            f"{image.geometry.shape} and {labels.geometry.shape} voxels",
            needed="the same shape and position",
            do="resample one onto the other, or leave the case out",
        )
    return image, _without(labels, case.background)


def _without(labels: Volume, values: tuple[int, ...]) -> Volume:
    """Labels of which some values are background, block by block when read."""
    if not values:
        return labels

    def clear(block: NDArray[Any]) -> NDArray[Any]:
        return np.where(np.isin(block, values), 0, block).astype(block.dtype)

    levels = tuple(
        da.map_blocks(clear, level, dtype=level.dtype)  # type: ignore[no-untyped-call]
        for level in labels.levels
    )
    return replace(labels, levels=levels)


def origin_of(case: Case) -> list[list[object]]:
    """JSON values that change when a file of the case does."""
    stamps = [_stamp(source) for source in (*case.images, case.labels)]
    if case.background:
        stamps[-1][0] = f"{stamps[-1][0]} without {list(case.background)}"
    return stamps


def _stamp(source: Path | Address) -> list[object]:
    address = Address.parse(source)
    path = address.path.resolve()
    # A folder's own time says nothing of what is written in its folders.
    files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
    found = [file.stat() for file in files]
    return [
        str(path) + str(source).removeprefix(address.place),
        sum(stat.st_size for stat in found),
        max((stat.st_mtime_ns for stat in found), default=0),
    ]
