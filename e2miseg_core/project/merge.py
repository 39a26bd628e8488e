"""A new prediction takes the place of the old one wherever no human spoke."""

import itertools
from collections.abc import Callable, Generator

import numpy as np

from e2miseg_core.boxes import Box
from e2miseg_core.errors import ReadError
from e2miseg_core.progress import Progress
from e2miseg_core.project.authority import MACHINE
from e2miseg_core.project.changes import bounding_box
from e2miseg_core.project.chunk_cache import CachedVolume, Index
from e2miseg_core.project.label_arrays import LabelArrays
from e2miseg_core.project.saver import ChunkSaver

__all__ = ["check_grid", "merge_chunks"]


def check_grid(prediction: CachedVolume, labels: CachedVolume) -> None:
    """Raise ReadError where a prediction is not one of this case."""
    if prediction.shape != labels.shape:
        raise ReadError(
            found=f"{prediction.path} with {prediction.shape} voxels",
            needed=f"a prediction on the grid of the case, {labels.shape}",
            do="predict again",
        )


def merge_chunks(
    arrays: LabelArrays,
    saver: ChunkSaver,
    prediction: CachedVolume,
    *,
    again: bool,
    changed: Callable[[Box], None],
) -> Generator[Progress, None, int]:
    """Merge a prediction chunk by chunk; each is on disk before the next.

    Parameters
    ----------
    arrays : LabelArrays
        What it is merged into.
    saver : ChunkSaver
        Writes the chunks.
    prediction : CachedVolume
        Labels on the same grid.
    again : bool
        Whether an earlier merge of it did not come to its end.
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
    labels = arrays.levels[0]
    counts = [-(-n // c) for n, c in zip(labels.shape, labels.chunks, strict=True)]
    rows = list(itertools.product(range(counts[0]), range(counts[1])))
    total = 0
    for done, (z, y) in enumerate(rows, start=1):
        boxes = []
        for x in range(counts[2]):
            index = (z, y, x)
            count = _merge_chunk(arrays, saver, prediction, index, again=again)
            if count:
                boxes.append(labels.chunk_box(index))
            total += count
        if boxes:
            changed(bounding_box(boxes))
        yield Progress(done=done, total=len(rows), stage="merging the prediction")
    return total


def _merge_chunk(
    arrays: LabelArrays,
    saver: ChunkSaver,
    prediction: CachedVolume,
    index: Index,
    *,
    again: bool,
) -> int:
    labels = arrays.levels[0]
    box = labels.chunk_box(index)
    wanted = prediction.read(box).astype(labels.dtype, copy=False)
    kept = labels.holds(index), arrays.authority.holds(index)
    changed = arrays.follow_machine(index, wanted, again=again)
    if changed:
        # What only the machine said can be merged again after a loss of power.
        precious = bool(np.any(arrays.authority.read(box) != MACHINE))
        saver.write(labels, index, sync=precious)
    # A merge must not push what is on show out of memory.
    for volume, was_there in zip((labels, arrays.authority), kept, strict=True):
        if not was_there:
            volume.forget(index)
    return changed
