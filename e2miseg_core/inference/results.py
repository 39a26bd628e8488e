"""The stores that a prediction fills, chunk row by chunk row."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box
from e2miseg_core.errors import WriteError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store
from e2miseg_core.model_card import ModelCard
from e2miseg_core.uncertainty.error_map import expected_error, to_uint8

if TYPE_CHECKING:
    import zarr

__all__ = ["ERROR_MAP", "LABELS", "PROBABILITIES", "ResultStores"]

LABELS, ERROR_MAP, PROBABILITIES = (
    "labels.ome.zarr",
    "error_map.ome.zarr",
    "probabilities.ome.zarr",
)


CHUNK = 64  # voxels along an edge


class _RowBuffer:
    """Rows of a volume, written to a store in whole chunks: no chunk is read back."""

    def __init__(self, store: "zarr.Array[Any]") -> None:
        self._store = store
        self._depth = store.chunks[-3]
        self._first = 0
        self._rows: list[NDArray[Any]] = []

    def add(self, rows: NDArray[Any]) -> int:
        """Add rows (..., n, Y, X); returns up to which row the store is final."""
        self._rows.append(rows)
        held = sum(part.shape[-3] for part in self._rows)
        last = self._first + held == self._store.shape[-3]
        whole = held if last else held // self._depth * self._depth
        if whole:
            joined = np.concatenate(self._rows, axis=-3)
            stop = self._first + whole
            self._store[..., self._first : stop, :, :] = joined[..., :whole, :, :]
            self._rows = [joined[..., whole:, :, :]]
            self._first = stop
        return self._first


class ResultStores:
    """Labels, error map and, if wanted, probabilities, as OME-Zarr on one grid.

    Parameters
    ----------
    folder : Path
        The stores are made in it; it is made if need be.
    geometry : Geometry
        The volume's.
    card : ModelCard
        Label values and calibration.
    keep_probabilities : bool
        Also store them, as float16.

    Attributes
    ----------
    voxels : dict of int to int
        Voxels of each label value so far.
    expected_wrong : float
        Sum of the expected error so far, before it is rounded to bytes.

    Raises
    ------
    WriteError
        If the folder holds results already; they are left alone.
    """

    def __init__(
        self,
        folder: Path,
        geometry: Geometry,
        card: ModelCard,
        *,
        keep_probabilities: bool = False,
    ) -> None:
        self.folder, self.geometry, self._card = folder, geometry, card
        names = (LABELS, ERROR_MAP, *([PROBABILITIES] if keep_probabilities else []))
        self._paths = [folder / name for name in names]
        _refuse_existing(self._paths)
        folder.mkdir(parents=True, exist_ok=True)
        self._values = _label_values(card)
        chunks = _chunks(geometry.shape)
        labels = create_store(
            folder / LABELS,
            geometry,
            self._values.dtype,
            chunks=chunks,
            names=card.label_names,
        )
        errors = create_store(
            folder / ERROR_MAP, geometry, np.uint8, chunks=chunks, kind="image"
        )
        self._labels, self._errors = _RowBuffer(labels), _RowBuffer(errors)
        self._probabilities: _RowBuffer | None = None
        if keep_probabilities:
            names = ("background", *(label.name for label in card.labels))
            store = create_store(
                folder / PROBABILITIES,
                geometry,
                np.float16,
                chunks=chunks,
                kind="image",
                channels=names,
            )
            self._probabilities = _RowBuffer(store)
        self.expected_wrong = 0.0
        self.voxels = {label.value: 0 for label in card.labels}
        self._final = 0

    def add(self, probabilities: NDArray[np.float32]) -> Box | None:
        """Add the next rows of the volume's grid.

        Parameters
        ----------
        probabilities : ndarray, shape (n_classes, rows, Y, X)

        Returns
        -------
        box or None
            What has become final in all stores, if anything has.
        """
        if probabilities.shape[1] == 0:
            return None
        classes = probabilities.argmax(axis=0)
        error = expected_error(probabilities, classes, self._card.temperature)
        counts = np.bincount(classes.ravel(), minlength=self._card.n_classes)
        for index, label in enumerate(self._card.labels, start=1):
            self.voxels[label.value] += int(counts[index])
        self.expected_wrong += float(error.sum(dtype=np.float64))
        if self._probabilities is not None:
            self._probabilities.add(probabilities.astype(np.float16))
        self._errors.add(to_uint8(error))
        final = self._labels.add(self._values[classes])
        first, self._final = self._final, final
        if final == first:
            return None
        _, size_y, size_x = self.geometry.shape
        return (first, final), (0, size_y), (0, size_x)

    def remove(self) -> None:
        """Remove the stores, for a job that did not come to its end."""
        for path in self._paths:
            shutil.rmtree(path, ignore_errors=True)


def _chunks(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Chunks of 64 voxels, thinner in short volumes.

    Rows become visible chunk by chunk: a volume of 64 rows should not appear at once
    at the very end.
    """
    return min(CHUNK, max(8, shape[0] // 8)), CHUNK, CHUNK


def _refuse_existing(paths: list[Path]) -> None:
    for path in paths:
        if path.exists():
            raise WriteError(
                found=f"{path} exists",
                needed="a folder without earlier results",
                do="choose another folder, or move the results away",
            )


def _label_values(card: ModelCard) -> NDArray[np.unsignedinteger[Any]]:
    """Label value of each class index, in the smallest type that holds them."""
    values = [0, *(label.value for label in card.labels)]
    dtype = np.min_scalar_type(max(values))
    found: NDArray[np.unsignedinteger[Any]] = np.array(values, dtype)
    return found
