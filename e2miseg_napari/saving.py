"""Writing a case's labels and maps to files, on the image's exact grid."""

import os
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import zarr
from qtpy.QtCore import QObject, Signal

from e2miseg_core.errors import ReadError
from e2miseg_core.io import write_image, write_labels
from e2miseg_core.io.naming import label_suffix
from e2miseg_core.project import Case, CasePrediction, LabelStore
from e2miseg_napari.background import Background
from e2miseg_napari.problems import problem_of

__all__ = ["EDGE_MAP", "ERROR_MAP", "LABELS", "Saver"]

LABELS, ERROR_MAP, EDGE_MAP = "labels", "error map", "edge map"
_FOR_NUMBERS = (".nii", ".nii.gz", ".ome.zarr", ".nrrd", ".mha")


class Saver(QObject):
    """Writes files in threads, one signal for each end.

    Parameters
    ----------
    parent : QObject, optional
        Owner in Qt's sense.
    """

    started = Signal(str)  # one line
    saved = Signal(str)  # one line
    failed = Signal(object)  # Problem

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.background = Background(self)
        self._last_folder: Path | None = None

    def suggest(self, case: Case, what: str) -> Path:
        """Path to offer for a file: beside the project, or where the last one went."""
        beside = case.project.path.parent
        folder = self._last_folder or (
            beside if os.access(beside, os.W_OK) else Path.home()
        )
        suffix = label_suffix(case.image_uri)
        if what != LABELS and suffix not in _FOR_NUMBERS:
            suffix = ".nii.gz"
        return folder / f"{case.name}_{what.replace(' ', '_')}{suffix}"

    def save(
        self, case: Case, store: LabelStore, what: str, path: Path, *, overwrite: bool
    ) -> None:
        """Write labels or a map.

        Parameters
        ----------
        case : Case
            On show.
        store : LabelStore
            Its labels; what is painted meanwhile may or may not be in the file.
        what : str
            `LABELS`, `ERROR_MAP` or `EDGE_MAP`.
        path : Path
            Its suffix chooses the format.
        overwrite : bool
            Whether the user has agreed to replace an existing file.
        """
        task = (
            _labels_writer(case, store, path, overwrite=overwrite)
            if what == LABELS
            else _map_writer(case, what, path, overwrite=overwrite)
        )

        def done(written: Path) -> None:
            self._last_folder = written.parent  # one that is missing is not offered
            self.saved.emit(f"Saved {what}: {written}")

        def failed(error: Exception) -> None:
            self.failed.emit(problem_of(error))

        self.started.emit(f"Saving {what}…")
        self.background.run(task, done, failed)


def _labels_writer(
    case: Case, store: LabelStore, path: Path, *, overwrite: bool
) -> Callable[[], Path]:
    names = {item.value: item.name for item in case.project.classes}
    colors = {item.value: item.rgb for item in case.project.classes}

    def write() -> Path:
        store.flush()
        labels = zarr.open_array(str(case.labels_path), path="0", mode="r")
        like = case.open_image()
        return write_labels(
            labels, path, like=like, names=names, colors=colors, overwrite=overwrite
        )

    return write


def _store_of(prediction: CasePrediction, what: str) -> Path | None:
    return prediction.edge_map if what == EDGE_MAP else prediction.error_map


def _map_writer(
    case: Case, what: str, path: Path, *, overwrite: bool
) -> Callable[[], Path]:
    def write() -> Path:
        prediction = case.merged  # the one on show
        store = None if prediction is None else _store_of(prediction, what)
        if store is None:
            raise ReadError(
                found=f"no {what} of {case.name}",
                needed="a prediction that has one",
                do="predict with a model that has an edge head"
                if what == EDGE_MAP
                else "press Predict first",
            )
        stored = zarr.open_array(str(store), path="0", mode="r")
        lazy = da.from_array(stored, chunks=stored.chunks, name=False)
        # In files a chance is a number from 0 to 1.
        chances = lazy.astype(np.float32) / np.float32(255)
        return write_image(chances, path, like=case.open_image(), overwrite=overwrite)

    return write
