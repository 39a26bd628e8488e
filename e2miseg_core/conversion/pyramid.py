"""Writing all levels of a pyramid in one pass over the source, in parallel.

A worker reads a piece of the source and writes its cells; as soon as the cells are
there from which one of the next level is made, a worker reads them back, compares
their checksums with what was written, and makes it. So the source is read once, every
written voxel is read back once, and what is in memory does not depend on the volume.
"""

import heapq
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, bounding_box
from e2miseg_core.conversion.pyramid_plan import Cell, PyramidPlan, Region
from e2miseg_core.conversion.workplace import Finished, Workplace
from e2miseg_core.downsample import Step, coarse_shape, mean, most_frequent
from e2miseg_core.errors import WriteError
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.progress import Job, Progress

__all__ = ["write_pyramid"]

_PLANES = 16  # of a cell that are condensed together: they stay in the processor
_MB = 1_000_000


@dataclass(frozen=True)
class _Outcome:
    """What a task has written, and read back and found equal."""

    written: dict[Cell, Finished] = field(default_factory=dict)
    read_back: Sequence[Cell] = ()


_Task: TypeAlias = Callable[[], _Outcome]


def write_pyramid(place: Workplace) -> Job[None]:
    """Make every cell that is not finished yet, and read every one back.

    Parameters
    ----------
    place : Workplace
        Where each finished cell is written down, so that the job may be stopped, or
        die, at any moment.

    Raises
    ------
    ReadError
        If the source cannot be read.
    WriteError
        If the disk refuses, or what is read back is not what was written.
    """
    tasks = _Tasks(place)
    yield from _run(tasks, place.plan, "converting (MB)", lambda: tasks.written_bytes)
    tasks.queue_rest()
    yield from _run(tasks, place.plan, "reading back (MB)", lambda: tasks.read_bytes)


class _Tasks:
    """What can be done now: coarse cells first, so that finer ones are still cached."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._queue: list[tuple[int, int, _Task]] = []
        self._count = 0
        self._queued: set[Cell] = set()
        self._read_back: set[Cell] = set()
        self.written_bytes = sum(map(place.plan.cell_bytes, place.finished))
        self.read_bytes = 0
        for cells in place.plan.pieces():
            todo = [cell for cell in cells if cell not in place.finished]
            if todo:
                self._add(0, _copying(place, todo))
        for cell in list(place.finished):
            self._queue_parent(cell)

    def __bool__(self) -> bool:
        return bool(self._queue)

    def take(self) -> _Task:
        """Return the next task."""
        return heapq.heappop(self._queue)[2]

    def finish(self, outcome: _Outcome) -> None:
        """Write down what a task did, and queue what can be done with it."""
        size_of = self._place.plan.cell_bytes
        self._read_back.update(outcome.read_back)
        self.read_bytes += sum(map(size_of, outcome.read_back))
        self.written_bytes += sum(map(size_of, outcome.written))
        if outcome.written:
            self._place.note(outcome.written)
        for cell in outcome.written:
            self._queue_parent(cell)

    def queue_rest(self) -> None:
        """Queue the reading back of cells from which none was made in this run."""
        for cell in sorted(self._place.finished.keys() - self._read_back):
            self._add(0, _checking(self._place, cell))

    def _queue_parent(self, cell: Cell) -> None:
        finished, plan = self._place.finished, self._place.plan
        parent = plan.parent(cell)
        if parent is None or parent in finished or parent in self._queued:
            return
        if all(child in finished for child in plan.children(parent)):
            self._queued.add(parent)
            self._add(-parent[0], _making(self._place, parent))

    def _add(self, priority: int, task: _Task) -> None:
        self._count += 1
        heapq.heappush(self._queue, (priority, self._count, task))


def _run(
    tasks: _Tasks, plan: PyramidPlan, stage: str, done: Callable[[], int]
) -> Job[None]:
    """Run tasks until there are no more; never more at once than there are workers."""
    total = -(-plan.n_bytes // _MB)
    running: set[Future[_Outcome]] = set()
    with ThreadPoolExecutor(plan.workers, "convert") as pool:
        try:
            while tasks or running:
                while tasks and len(running) < plan.workers:
                    running.add(pool.submit(tasks.take()))
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    running.discard(future)
                    tasks.finish(future.result())
                yield Progress(done=-(-done() // _MB), total=total, stage=stage)
        finally:  # stopped: what is under way is soon finished, and worth keeping
            wait(running)
            for future in running:
                if future.exception() is None:
                    tasks.finish(future.result())


def _copying(place: Workplace, cells: Sequence[Cell]) -> _Task:
    """Read neighbouring cells from the source in one go, and write them."""

    def copy() -> _Outcome:
        plan = place.plan
        regions = {cell: plan.region(cell) for cell in cells}
        box = bounding_box(map(_bounds, regions.values()))
        where = tuple(slice(*bounds) for bounds in box)
        lazy = plan.data[(cells[0][1], *where)]
        # Our threads are the workers: dask's own would be more than was asked for.
        block = np.asarray(lazy.compute(scheduler="synchronous"))
        written = {}
        for cell, region in regions.items():
            local = tuple(
                slice(part.start - low, part.stop - low)
                for part, (low, _) in zip(region, box, strict=True)
            )
            written[cell] = _write(place, cell, np.ascontiguousarray(block[local]))
        return _Outcome(written)

    return copy


def _making(place: Workplace, cell: Cell) -> _Task:
    """Read the cells back that a coarser one is made from, and make it."""

    def make() -> _Outcome:
        plan = place.plan
        step, region = plan.steps[cell[0] - 1], plan.region(cell)
        shape = tuple(part.stop - part.start for part in region)
        coarse = np.empty(shape, plan.dtype)
        children = plan.children(cell)
        for child in children:
            local = tuple(
                slice(part.start // by - own.start, -(-part.stop // by) - own.start)
                for part, by, own in zip(plan.region(child), step, region, strict=True)
            )
            coarse[local] = _condensed(_read_back(place, child), step, plan.kind)
        return _Outcome({cell: _write(place, cell, coarse)}, children)

    return make


def _checking(place: Workplace, cell: Cell) -> _Task:
    def check() -> _Outcome:
        _read_back(place, cell)
        return _Outcome(read_back=[cell])

    return check


def _bounds(region: Region) -> Box:
    z, y, x = ((part.start, part.stop) for part in region)
    return z, y, x


def _write(place: Workplace, cell: Cell, voxels: NDArray[Any]) -> Finished:
    with writing_to(place.store):
        place.arrays[cell[0]][place.index(cell)] = voxels
    return Finished(zlib.crc32(voxels.data.cast("B")), place.size_on_disk(cell))


def _read_back(place: Workplace, cell: Cell) -> NDArray[Any]:
    """Return the voxels of a cell as the store gives them, if they are those written.

    Raises
    ------
    WriteError
        If they are not.
    """
    try:
        voxels = np.ascontiguousarray(place.arrays[cell[0]][place.index(cell)])
        same = zlib.crc32(voxels.data.cast("B")) == place.finished[cell].checksum
        found = "other voxels"
    except (OSError, ValueError, RuntimeError) as error:  # of codecs, too
        same, found = False, f"an error ({error})"
    if not same:
        place.forget()
        raise WriteError(
            found=f"{found} after reading {place.store.name} back",
            needed="what was written",
            do="check the disk, or write to another one",
        )
    return voxels


def _condensed(voxels: NDArray[Any], step: Step, kind: str) -> NDArray[Any]:
    """Make the voxels of the next level, some planes at a time."""
    condense = most_frequent if kind == "labels" else mean
    coarse = np.empty(coarse_shape(voxels.shape, step), voxels.dtype)
    for start in range(0, voxels.shape[0], _PLANES):
        planes = condense(voxels[start : start + _PLANES], step)
        at = start // step[0]
        coarse[at : at + planes.shape[0]] = planes
    return coarse
