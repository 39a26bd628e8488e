"""Predictions put into the labels on show, and the end of that when they close."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari.layers import Image

from e2miseg_core.errors import Cancelled
from e2miseg_core.progress import run
from e2miseg_core.project import CasePrediction, LabelStore
from e2miseg_napari.background import Background
from e2miseg_napari.case_opening import (
    OpenCase,
    OpenProject,
    ResultMaps,
    open_maps,
)

__all__ = ["Merges", "Merging", "Opened"]


class Merging:
    """A merge in a thread, which may be stopped between two of its steps.

    Parameters
    ----------
    store : LabelStore
        Open until the merge has ended.
    prediction : CasePrediction
        Of the same case.
    """

    def __init__(self, store: LabelStore, prediction: CasePrediction) -> None:
        self.store, self.prediction = store, prediction
        self._unwanted, self._ended = threading.Event(), threading.Event()
        self._begun, self._lock = False, threading.Lock()

    def work(self) -> ResultMaps | None:
        """Merge; return the maps, None where the merge was stopped."""
        with self._lock:
            if self._unwanted.is_set():
                return None
            self._begun = True
        try:
            run(self.store.merge(self.prediction), cancelled=self._unwanted.is_set)
            return open_maps(self.prediction)
        except Cancelled:
            return None
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Return when the merge has ended, which is soon, or will never begin."""
        with self._lock:
            self._unwanted.set()
        if self._begun:
            self._ended.wait()


@dataclass(eq=False, kw_only=True)
class Opened:
    """What a task in a thread has opened; nothing where it is open already."""

    project: OpenProject | None = None
    case: OpenCase | None = None
    image: Image | None = None  # shows the case's image already
    shown: str = ""  # name of the case where it was on show already
    merging: Merging | None = None  # to be stopped before the case is closed

    @property
    def folders(self) -> set[Path]:
        """What is locked as long as this is not closed."""
        folders = set() if self.case is None else {self.case.case.folder}
        return (
            folders if self.project is None else folders | {self.project.project.path}
        )

    def close(self) -> None:
        """Close all, the project last: not before its edits are written."""
        if self.merging is not None:
            self.merging.stop()
        for part in (self.case, self.project):
            if part is not None:
                part.close()


class Merges:
    """The merge under way, and the prediction that comes after it.

    Parameters
    ----------
    background : Background
        Runs them.
    done : callable
        Gets a prediction's maps, and whether none waits after it.
    failed : callable
        Gets what the last one has raised.
    """

    def __init__(
        self,
        background: Background,
        done: Callable[[ResultMaps, bool], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._background, self._done, self._failed = background, done, failed
        self._current: Merging | None = None
        self._next: CasePrediction | None = None

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return self._current is not None

    def merge(self, store: LabelStore, prediction: CasePrediction) -> None:
        """Merge a prediction now, or after the one under way."""
        if self._current is None:
            self._begin(store, prediction)
        elif self._current.prediction.folder != prediction.folder:
            self._next = prediction

    def leave(self) -> Merging | None:
        """Forget all; what is returned is to be stopped before its labels close."""
        current, self._current, self._next = self._current, None, None
        return current

    def _begin(self, store: LabelStore, prediction: CasePrediction) -> None:
        merging = self._current = Merging(store, prediction)

        def done(maps: ResultMaps | None) -> None:
            if self._current is merging:
                waiting = self._take_next()
                if maps is not None:
                    self._done(maps, waiting is None)
                if waiting is not None:
                    self._begin(store, waiting)

        def failed(error: Exception) -> None:
            if self._current is merging:
                waiting = self._take_next()
                if waiting is None:
                    self._failed(error)
                else:  # what has failed is out of date by now
                    self._begin(store, waiting)

        self._background.run(merging.work, done, failed)

    def _take_next(self) -> CasePrediction | None:
        waiting, self._current, self._next = self._next, None, None
        return waiting
