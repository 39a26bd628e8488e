"""Saving predictions, and not losing those that are not saved."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from qtpy.QtCore import QObject, Signal

from e2miseg_core.io import write_image, write_labels
from e2miseg_napari.background import Background
from e2miseg_napari.convert import KEY, reopen
from e2miseg_napari.predictions import Prediction
from e2miseg_napari.problems import problem_of
from e2miseg_napari.session import sessions_root

__all__ = ["ERROR_MAP", "LABELS", "Saver"]

LABELS, ERROR_MAP = "labels", "error map"


class Saver(QObject):
    """Writes predictions to files, in threads, one signal for each end.

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

    def suggest(self, prediction: Prediction, what: str) -> Path:
        """Path to offer for a file: beside the image, or where the last one went."""
        stem = prediction.title.partition(" – ")[2] or "prediction"
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)
        name = f"{safe}_{what.replace(' ', '_')}.nii.gz"
        return self._folder(prediction) / name

    def save(
        self, prediction: Prediction, what: str, path: Path, *, overwrite: bool
    ) -> None:
        """Write labels or error map.

        Parameters
        ----------
        prediction : Prediction
            Finished.
        what : str
            `LABELS` or `ERROR_MAP`.
        path : str or Path
            Its suffix chooses the format.
        overwrite : bool
            Whether the user has agreed to replace an existing file.
        """
        self._last_folder = path.parent
        write = _labels_writer if what == LABELS else _error_map_writer
        task = write(prediction, path, overwrite)

        def done(written: Path) -> None:
            if what == LABELS and prediction.labels is not None:
                prediction.labels.metadata[KEY]["saved"] = str(written)
            self.saved.emit(f"Saved {what}: {written}")

        def failed(error: Exception) -> None:
            self.failed.emit(problem_of(error))

        self.started.emit(f"Saving {what}…")
        self.background.run(task, done, failed)

    def _folder(self, prediction: Prediction) -> Path:
        if self._last_folder is not None:
            return self._last_folder
        beside = Path(prediction.own["image"]).parent
        private = (sessions_root(), Path(__file__).parents[1])
        hidden = any(beside.is_relative_to(folder) for folder in private)
        return beside if os.access(beside, os.W_OK) and not hidden else Path.home()


def _labels_writer(
    prediction: Prediction, path: Path, overwrite: bool
) -> Callable[[], Path]:
    own = prediction.own
    array: Any = None if prediction.labels is None else prediction.labels.data

    def write() -> Path:
        like = reopen(own["image"], own["geometry"])
        names = own["names"]
        return write_labels(array, path, like=like, names=names, overwrite=overwrite)

    return write


def _error_map_writer(
    prediction: Prediction, path: Path, overwrite: bool
) -> Callable[[], Path]:
    own = prediction.own
    array: Any = None if prediction.error_map is None else prediction.error_map.data

    def write() -> Path:
        like = reopen(own["image"], own["geometry"])
        # In files a chance is a number from 0 to 1.
        stored = da.from_array(array, chunks=array.chunks, name=False)
        chances = stored.astype(np.float32) / np.float32(255)
        return write_image(chances, path, like=like, overwrite=overwrite)

    return write
