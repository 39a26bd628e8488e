"""A case's labels as the pyramid that the label layer shows and edits."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers._multiscale_data import MultiScaleData
from napari.layers.labels import labels as napari_labels
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.project import LabelStore

__all__ = ["EditablePyramid", "LevelSlicing", "PlaneRequest", "iter_chunks"]


class EditablePyramid(MultiScaleData):
    """A store's levels, indexed like napari's pyramids and written like an array.

    An integer chooses a level; any other index means voxels of the finest one.

    Parameters
    ----------
    store : LabelStore
        Of the case.
    """

    def __init__(self, store: LabelStore) -> None:
        super().__init__(store.levels)
        self._store = store

    @property
    def chunks(self) -> tuple[int, ...]:
        """Of the finest level, for programs that read it piece by piece."""
        sizes: tuple[int, ...] = self._data[0].chunks
        return sizes

    def __getitem__(self, key: Any) -> Any:
        """Level, or voxels of the finest level."""
        if isinstance(key, int | np.integer):
            return self._data[key]
        if isinstance(key, tuple) and all(np.ndim(part) == 1 for part in key):
            return self._read_points(key)
        found = self._data[0][key]
        return found if np.ndim(found) else np.asarray(found)[()]

    def __setitem__(self, key: Any, values: Any) -> None:
        """Write voxels of the finest level, as a human's edit."""
        self._store.write(key, values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Finest level, whole: what `shape` promises."""
        return np.asarray(self._data[0], dtype=dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> "EditablePyramid":
        """Share the store: a duplicated layer shows the same labels."""
        return self

    def _read_points(self, points: tuple[NDArray[np.integer], ...]) -> NDArray[Any]:
        """Read scattered voxels, such as those under a ray, chunk by chunk."""
        where = np.stack([np.asarray(part) for part in points])
        found = np.zeros(where.shape[1], self.dtype)
        for box, members in iter_chunks(where, self._data[0].chunks):
            inside = tuple(where[:, members] - [[low] for low, _ in box])
            found[members] = np.asarray(self._data[0][box_slices(box)])[inside]
        return found


def iter_chunks(
    points: NDArray[np.integer], chunks: Sequence[int]
) -> Iterator[tuple[Box, NDArray[np.integer]]]:
    """Group points by chunk: the box around those of a chunk, and which they are.

    Parameters
    ----------
    points : ndarray of int, shape (3, n)
        Voxels.
    chunks : sequence of int
        Size of a chunk.
    """
    homes = points // np.asarray(chunks)[:, None]
    _, groups = np.unique(homes, axis=1, return_inverse=True)
    for group in range(int(groups.max(initial=-1)) + 1):
        members = np.flatnonzero(groups.ravel() == group)
        low, high = points[:, members].min(1), points[:, members].max(1) + 1
        z, y, x = zip(low.tolist(), high.tolist(), strict=True)
        yield (z, y, x), members


class PlaneRequest(napari_labels._LabelsSliceRequest):
    """Slices the plane of a coarser level that holds the current one.

    napari rounds: plane 3 would be looked for in plane 2 of the next level, which
    holds planes 4 and 5.
    """

    def _thick_slice_at_level(self, level: int) -> Any:
        values = self.data_slice.as_array()
        values[0] = np.floor(np.round(values[0]) / self.downsample_factors[level])
        return type(self.data_slice).from_array(values)


class LevelSlicing(napari_labels._LabelsSlicingState):
    """Slicing of a pyramid whose levels are exact halves, with a preview over it."""

    _slice_request_class = PlaneRequest

    def _make_slice_request_internal(self, **options: Any) -> Any:
        request = super()._make_slice_request_internal(**options)
        shown = self.layer.level_on_show(request.data_level)
        return replace(request, data_at_data_level=shown)
