"""The stores that a prediction fills, chunk row by chunk row."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from e2miseg_core.boxes import Box
from e2miseg_core.errors import WriteError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import create_store
from e2miseg_core.model_card import ModelCard
from e2miseg_core.project.predictions import (
    EDGE_MAP,
    ERROR_MAP,
    LABELS,
    LOG_PROBABILITIES,
    PROBABILITIES,
)
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.error_map import expected_error, to_uint8
from e2miseg_core.uncertainty.log_probabilities import encode_log_probabilities

if TYPE_CHECKING:
    import zarr

__all__ = ["ResultStores", "class_values"]

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
    """Labels, error map and, if wanted, edge map and probabilities, on one grid.

    Each is an OME-Zarr store.

    Parameters
    ----------
    folder : Path
        The stores are made in it; it is made if need be.
    geometry : Geometry
        The volume's.
    card : ModelCard
        Label values and calibration.
    calibration : Calibration, optional
        Of the error map, instead of the card's.
    keep_edge_map : bool
        Also store the probability of an edge, as bytes like the error map.
    keep_probabilities : bool
        Also store them, as float16.
    keep_log_probabilities : bool
        Also store what `encode_log_probabilities` makes of them.

    Attributes
    ----------
    paths : dict of str to Path
        Where each store lies, by its name without suffix.
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
        calibration: Calibration | None = None,
        keep_edge_map: bool = False,
        keep_probabilities: bool = False,
        keep_log_probabilities: bool = False,
    ) -> None:
        self.folder, self.geometry, self._card = folder, geometry, card
        self._calibration = calibration or Calibration.from_card(card.calibration)
        self._values = class_values(card)
        kinds: dict[str, DTypeLike] = {LABELS: self._values.dtype, ERROR_MAP: np.uint8}
        if keep_edge_map:
            kinds[EDGE_MAP] = np.uint8
        if keep_probabilities:
            kinds[PROBABILITIES] = np.float16
        if keep_log_probabilities:
            kinds[LOG_PROBABILITIES] = np.uint8
        self.paths = {name.partition(".")[0]: folder / name for name in kinds}
        _refuse_existing(self.paths.values())
        folder.mkdir(parents=True, exist_ok=True)
        self._stores = {
            name: self._create(name, dtype) for name, dtype in kinds.items()
        }
        self.expected_wrong = 0.0
        self.voxels = {label.value: 0 for label in card.labels}
        self._final = 0

    def _create(self, name: str, dtype: DTypeLike) -> _RowBuffer:
        of_classes = name in (PROBABILITIES, LOG_PROBABILITIES)
        names = ("background", *self._card.label_names.values())
        store = create_store(
            self.folder / name,
            self.geometry,
            dtype,
            chunks=_chunks(self.geometry.shape),
            kind="labels" if name == LABELS else "image",
            channels=names if of_classes else (),
            names=self._card.label_names if name == LABELS else None,
        )
        return _RowBuffer(store)

    def add(self, predicted: NDArray[np.float32]) -> Box | None:
        """Add the next rows of the volume's grid.

        Parameters
        ----------
        predicted : ndarray, shape (n_classes or one more, rows, Y, X)
            Probabilities; that of an edge, where the edge map is kept, after the
            classes.

        Returns
        -------
        box or None
            What has become final in all stores, if anything has.
        """
        if predicted.shape[1] == 0:
            return None
        probabilities = predicted[: self._card.n_classes]
        classes = probabilities.argmax(axis=0)
        error = expected_error(probabilities, classes, self._calibration)
        counts = np.bincount(classes.ravel(), minlength=self._card.n_classes)
        for index, label in enumerate(self._card.labels, start=1):
            self.voxels[label.value] += int(counts[index])
        self.expected_wrong += float(error.sum(dtype=np.float64))
        if PROBABILITIES in self._stores:
            self._stores[PROBABILITIES].add(probabilities.astype(np.float16))
        if LOG_PROBABILITIES in self._stores:
            codes = encode_log_probabilities(probabilities)
            self._stores[LOG_PROBABILITIES].add(codes)
        if EDGE_MAP in self._stores:
            self._stores[EDGE_MAP].add(to_uint8(predicted[-1].clip(0, 1)))
        self._stores[ERROR_MAP].add(to_uint8(error))
        final = self._stores[LABELS].add(self._values[classes])
        first, self._final = self._final, final
        if final == first:
            return None
        _, size_y, size_x = self.geometry.shape
        return (first, final), (0, size_y), (0, size_x)

    def remove(self) -> None:
        """Remove the stores, for a job that did not come to its end."""
        for path in self.paths.values():
            shutil.rmtree(path, ignore_errors=True)


def _chunks(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Chunks of 64 voxels, thinner in short volumes.

    Rows become visible chunk by chunk: a volume of 64 rows should not appear at once
    at the very end.
    """
    return min(CHUNK, max(8, shape[0] // 8)), CHUNK, CHUNK


def _refuse_existing(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            raise WriteError(
                found=f"{path} exists",
                needed="a folder without earlier results",
                do="choose another folder, or move the results away",
            )


def class_values(card: ModelCard) -> NDArray[np.unsignedinteger[Any]]:
    """Label value of each class index, in the smallest type that holds them."""
    values = [0, *(label.value for label in card.labels)]
    dtype = np.min_scalar_type(max(values))
    found: NDArray[np.unsignedinteger[Any]] = np.array(values, dtype)
    return found
