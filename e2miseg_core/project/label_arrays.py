"""Labels at all levels and their authority, changed together."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box
from e2miseg_core.chunks import Index
from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.project.authority import MACHINE
from e2miseg_core.project.changes import Change
from e2miseg_core.project.chunk_cache import CachedVolume
from e2miseg_core.project.levels import coarse_box, condense, shrink_edit

__all__ = ["LabelArrays"]


class LabelArrays:
    """The voxels of a case in memory and on disk. What is changed here is not logged.

    Parameters
    ----------
    labels, authority : Path
        Their stores.
    on_write : callable
        Gets (key, values) when somebody assigns to the finest level.

    Attributes
    ----------
    lock : RLock
        Held during each change of voxels in memory.
    levels : tuple of CachedVolume
        Of the labels, finest first.
    authority : CachedVolume
        On the grid of the finest.

    Raises
    ------
    ReadError
        If the stores are missing or do not fit each other.
    """

    def __init__(
        self, labels: Path, authority: Path, *, on_write: Callable[[Any, Any], None]
    ) -> None:
        self.lock = threading.RLock()
        self._stores = labels, authority
        count = len([entry for entry in labels.glob("*") if entry.name.isdigit()])
        self.levels = tuple(
            CachedVolume(
                labels / str(level),
                lock=self.lock,
                writable=True,
                on_write=None if level else on_write,
            )
            for level in range(max(1, count))
        )
        self.authority = CachedVolume(authority / "0", lock=self.lock, writable=True)
        finest = self.levels[0]
        if (finest.shape, finest.chunks) != (
            self.authority.shape,
            self.authority.chunks,
        ):
            raise ReadError(
                found=f"{authority} with {self.authority.shape} voxels",
                needed=f"the grid of the labels, {finest.shape}",
                do="copy both from a backup",
            )

    def open_beside(self, store: Path) -> CachedVolume:
        """Open other labels on the same grid, for reading.

        Raises
        ------
        ReadError
            If they are missing or on another grid.
        """
        other = CachedVolume(store / "0", lock=self.lock)
        if other.shape != self.levels[0].shape:
            raise ReadError(
                found=f"{store} with {other.shape} voxels",
                needed=f"the grid of the case, {self.levels[0].shape}",
                do="predict again",
            )
        return other

    def remove_torn_chunks(self) -> None:
        """Remove what a program that died while it wrote chunks left beside them."""
        for store in self._stores:
            for file in store.glob("*/c/**/*.partial"):
                with suppress(OSError):
                    file.unlink()

    def as_labels(self, values: Any) -> NDArray[Any]:
        """Return values as labels of these arrays; ConfigError if one does not fit."""
        labels, dtype = np.asarray(values), self.levels[0].dtype
        limit = np.iinfo(dtype).max
        if labels.size and (labels.min() < 0 or labels.max() > limit):
            raise ConfigError(
                found=f"labels from {labels.min()} to {labels.max()}",
                needed=f"values from 0 to {limit}",
                do="paint with one of the project's classes",
            )
        return labels.astype(dtype, copy=False)

    def load(self, box: Box) -> None:
        """Bring what a change of a box needs to memory, without holding the lock."""
        self.authority.load(box)
        for level in self.levels:
            level.load(box)
            box = coarse_box(box)

    def state(self, box: Box, mask: NDArray[np.bool_]) -> Change:
        """Return labels and authority of some voxels as they are."""
        return Change(
            box=box,
            mask=mask,
            labels=self.levels[0].read(box)[mask],
            authority=self.authority.read(box)[mask],
        )

    def apply(self, change: Change) -> None:
        """Change voxels, at all levels."""
        box, mask = change.box, change.mask
        labels = change.spread(change.labels)
        with self.lock:
            self.authority.put(box, change.spread(change.authority), mask)
            self.levels[0].put(box, labels, mask)
            for level in self.levels[1:]:
                box, mask, labels = shrink_edit(box, mask, labels)
                level.put(box, labels, mask)

    def follow_machine(
        self, index: Index, prediction: NDArray[Any], *, again: bool
    ) -> int:
        """Give machine's voxels of a chunk the labels of a prediction.

        Parameters
        ----------
        index : tuple of int
            Of the chunk.
        prediction : ndarray, shape of the chunk
        again : bool
            Also make the coarser levels anew where nothing changes.

        Returns
        -------
        int
            Voxels whose label changed.
        """
        box = self.levels[0].chunk_box(index)
        self.load(box)
        with self.lock:
            labels, authority = self.levels[0].read(box), self.authority.read(box)
            mask = (authority == MACHINE) & (labels != prediction)
            if mask.any():
                self.levels[0].put(box, prediction, mask)
                np.copyto(labels, prediction, where=mask)
            elif not again:
                return 0
            human = authority != MACHINE
            for level in self.levels[1:]:
                box = coarse_box(box)
                labels, human = condense(labels, human)
                different = level.read(box) != labels
                if different.any():
                    level.put(box, labels, different)
        return int(mask.sum())

    @property
    def dirty(self) -> list[tuple[CachedVolume, Index]]:
        """Chunks that differ from those on disk."""
        with self.lock:
            volumes = (self.authority, *self.levels)
            return [(volume, index) for volume in volumes for index in volume.dirty]
