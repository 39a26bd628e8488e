"""A new prediction takes the place of the old one wherever no human spoke."""

import itertools
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import numpy as np

from e2miseg_core.boxes import Box, bounding_box
from e2miseg_core.chunks import Index
from e2miseg_core.errors import Cancelled, ConfigError, E2MISegError
from e2miseg_core.progress import Progress
from e2miseg_core.project.authority import MACHINE
from e2miseg_core.project.cases import Case
from e2miseg_core.project.chunk_cache import CachedVolume
from e2miseg_core.project.edit_log import EditLog
from e2miseg_core.project.label_arrays import LabelArrays
from e2miseg_core.project.predictions import CasePrediction
from e2miseg_core.project.saver import ChunkSaver

__all__ = ["Merging", "merge_prediction"]


class Merging:
    """The merges of predictions into the labels of a case.

    Parameters
    ----------
    case : Case
        Whose labels.
    log, saver : EditLog, ChunkSaver
        Of the same case.
    changed : callable
        Called with a box around the changed voxels of each row of chunks.
    """

    def __init__(
        self,
        case: Case,
        log: EditLog,
        saver: ChunkSaver,
        *,
        changed: Callable[[Box], None],
    ) -> None:
        self._case, self._log, self._saver, self._changed = case, log, saver, changed
        self._busy = threading.Lock()  # a merge is under way
        self._step = threading.Lock()  # a row of chunks is being merged
        self.closing = False

    def run(self, prediction: CasePrediction) -> Generator[Progress, None, int]:
        """Merge a prediction; see `LabelStore.merge`."""
        if not self._busy.acquire(blocking=False):
            raise ConfigError(
                found="a prediction that is just being merged",
                needed="one at a time",
                do="wait for it to end",
            )
        job = merge_prediction(
            self._case, self._log, self._saver, prediction, changed=self._changed
        )
        try:
            while True:
                with self._step:
                    if self.closing:
                        what = "the merge"
                        raise Cancelled(what)
                    try:
                        step = next(job)
                    except StopIteration as end:
                        return int(end.value)
                yield step
        finally:
            self._busy.release()

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Let no merge take a step in the block; nor later, if the block succeeds.

        One in another thread ends after its row of chunks. One that nobody goes on with
        holds up nothing.
        """
        self.closing = True
        try:
            with self._step:
                yield
        except E2MISegError:
            self.closing = False
            raise


def merge_prediction(
    case: Case,
    log: EditLog,
    saver: ChunkSaver,
    prediction: CasePrediction,
    *,
    changed: Callable[[Box], None],
) -> Generator[Progress, None, int]:
    """Merge a prediction chunk by chunk; each is on disk before the next.

    `case.json` tells of a merge that did not end: until one does, machine's voxels may
    have the labels of two predictions.

    Parameters
    ----------
    case : Case
        Whose labels.
    log : EditLog
        Gets the prediction, for undoing.
    saver : ChunkSaver
        Writes the chunks.
    prediction : CasePrediction
        Of the case.
    changed : callable
        Called with a box around the changed voxels of each row of chunks.

    Yields
    ------
    Progress
        After each row of chunks.

    Returns
    -------
    int
        Voxels whose label changed.
    """
    arrays, labels = log.arrays, log.arrays.levels[0]
    machine = arrays.open_beside(prediction.labels)
    stored = case.description()
    again = stored.get("merging") is not None
    case.set_merged(stored["prediction"], merging=prediction.number)
    log.machine = machine
    counts = [-(-n // c) for n, c in zip(labels.shape, labels.chunks, strict=True)]
    rows = list(itertools.product(range(counts[0]), range(counts[1])))
    total = 0
    for done, (z, y) in enumerate(rows, start=1):
        boxes = []
        for x in range(counts[2]):
            index = (z, y, x)
            count = _merge_chunk(arrays, saver, machine, index, again=again)
            if count:
                boxes.append(labels.chunk_box(index))
            total += count
        if boxes:
            changed(bounding_box(boxes))
        yield Progress(done=done, total=len(rows), stage="merging the prediction")
    saver.flush()
    case.set_merged(prediction.number, merging=None)
    return total


def _merge_chunk(
    arrays: LabelArrays,
    saver: ChunkSaver,
    machine: CachedVolume,
    index: Index,
    *,
    again: bool,
) -> int:
    labels = arrays.levels[0]
    box = labels.chunk_box(index)
    wanted = machine.read(box).astype(labels.dtype, copy=False)
    kept = labels.holds(index), arrays.authority.holds(index)

    def holds_human_voxels() -> bool:
        return bool(np.any(arrays.authority.read(box) != MACHINE))

    changed = arrays.follow_machine(index, wanted, again=again)
    if changed:
        # What only the machine said can be merged again after a loss of power.
        saver.write(labels, index, precious=holds_human_voxels)
    # A merge must not push what is on show out of memory.
    for volume, was_there in zip((labels, arrays.authority), kept, strict=True):
        if not was_there:
            volume.forget(index)
    return changed
