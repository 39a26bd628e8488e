"""The one way in which labels change: painted, accepted, undone, merged."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, clip_box
from e2miseg_core.errors import ConfigError
from e2miseg_core.progress import Progress
from e2miseg_core.project.authority import ACCEPTED, HUMAN, MACHINE
from e2miseg_core.project.changes import Change, bounding_box, combine
from e2miseg_core.project.chunk_cache import CachedVolume
from e2miseg_core.project.journal import Journal
from e2miseg_core.project.journal_entries import Entry, Kind
from e2miseg_core.project.keys import basic_box
from e2miseg_core.project.label_arrays import LabelArrays
from e2miseg_core.project.lock import ProjectInUse, is_held_here
from e2miseg_core.project.merge import check_grid, merge_chunks
from e2miseg_core.project.predictions import CasePrediction
from e2miseg_core.project.saver import ChunkSaver
from e2miseg_core.project.strokes import Stroke
from e2miseg_core.project.versions import now

if TYPE_CHECKING:
    from e2miseg_core.project.cases import Case

__all__ = ["LabelStore"]


class LabelStore:
    """Labels and authority of a case, open for editing.

    Always: labels = what a human said where authority > 0, else the merged prediction.
    Every edit is in the journal on disk within half a second; nothing waits for that.

    Parameters
    ----------
    case : Case
        Of a project whose lock this process holds.

    Attributes
    ----------
    levels : tuple of CachedVolume
        Labels, finest first. Assigning to the first is an edit by a human.
    authority : CachedVolume
        0 machine, 1 drawn by a human, 2 machine's voxel accepted by a human.
    changed : list of callable
        Called with a box after undo, redo, accept, set_truth and, from its thread,
        merge; not after painting.
    failed : list of callable
        Called with an error, from another thread, when the disk begins to refuse.
        Nothing is lost in memory and writing is tried again.
    notes : tuple of str
        What was found amiss on opening, for the user.

    Raises
    ------
    ProjectInUse
        If this process does not hold the lock.
    ReadError
        If a store is damaged.
    """

    def __init__(self, case: "Case") -> None:
        if not is_held_here(case.project.path):
            raise ProjectInUse(
                found=f"the lock of {case.project.path.name} is not held",
                needed="the lock, so that one program at a time edits the labels",
                do="call Project.lock() first",
            )
        self.case = case
        self.changed: list[Callable[[Box], None]] = []
        self.failed: list[Callable[[Exception], None]] = []
        self._told_failure = False
        self._stroke: str | None = None  # name of the one under way
        self._number: int | None = None  # its first entry, once there is one
        self._merging = False
        self._arrays = LabelArrays(
            case.labels_path, case.authority_path, on_write=self.write
        )
        self.levels, self.authority = self._arrays.levels, self._arrays.authority
        self._machine = self._open_machine()
        self._journal = Journal(
            case.journal_path, on_saved=self._works_again, on_failed=self._tell_failure
        )
        self.notes = self._replay()
        self._saver = ChunkSaver(
            self._arrays, self._journal, on_failed=self._tell_failure
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def seq(self) -> int:
        """Number of the latest edit."""
        return self._journal.seq

    @property
    def saved_seq(self) -> int:
        """Number of the latest edit that is on disk; all are where it equals `seq`."""
        return self._journal.saved

    @property
    def undo_name(self) -> str | None:
        """Name of the stroke that `undo` would take back."""
        done = self._journal.strokes.done
        return done[-1].name if done else None

    @property
    def redo_name(self) -> str | None:
        """Name of the stroke that `redo` would bring back."""
        undone = self._journal.strokes.undone
        return undone[-1].name if undone else None

    def write(self, key: Any, values: Any) -> None:
        """Set labels as a human: voxels whose label changes become a human's.

        Parameters
        ----------
        key : int, slice, Ellipsis or tuple of them
            Of the finest level.
        values : array_like
            Labels that broadcast to what `key` means.

        Raises
        ------
        ConfigError
            If a label does not fit the type of the labels.
        """
        box, dropped = basic_box(key, self.levels[0].shape)
        size = [high - low for low, high in box]
        kept = [n for axis, n in enumerate(size) if axis not in dropped]
        labels = np.broadcast_to(self._checked(values), kept).reshape(size)
        self._saver.postpone()
        self._arrays.load(box)
        with self._arrays.lock:
            mask = self.levels[0].read(box) != labels
            self._edit("paint", box, mask, labels, HUMAN)

    def touch(self, box: Box, mask: NDArray[np.bool_]) -> None:
        """Make voxels a human's that were painted over with the label they had.

        Parameters
        ----------
        box : Box
            Inside the volume.
        mask : ndarray of bool, shape of the box
            Which voxels of it.
        """
        self._saver.postpone()
        self._arrays.load(box)
        with self._arrays.lock:
            mine = mask & (self.authority.read(box) != HUMAN)
            self._edit("paint", box, mine, self.levels[0].read(box), HUMAN)

    def begin_stroke(self, name: str) -> None:
        """Make all edits until `end_stroke` one step of undo."""
        self.end_stroke()
        self._stroke = name

    def end_stroke(self) -> None:
        """End the stroke under way, if there is one."""
        self._stroke = self._number = None

    def abort_stroke(self) -> None:
        """End the stroke under way and take it back, never to be redone."""
        number = self._number
        self.end_stroke()
        done = self._journal.strokes.done
        if number is not None and done and done[-1].number == number:
            self._take_back(done[-1], "abort")

    @contextmanager
    def stroke(self, name: str) -> Iterator[None]:
        """Make all edits of the block one step of undo; an exception takes it back."""
        self.begin_stroke(name)
        try:
            yield
        except BaseException:
            self.abort_stroke()
            raise
        self.end_stroke()

    def accept(self, box: Box) -> None:
        """Accept the machine's labels in a box: no later prediction changes them."""
        box = clip_box(box, self.levels[0].shape)
        with self._alone("accept", box):
            mask = self.authority.read(box) == MACHINE
            self._edit("accept", box, mask, self.levels[0].read(box), ACCEPTED)

    def set_truth(self, box: Box, labels: NDArray[Any]) -> None:
        """Set all labels of a box as a human.

        Parameters
        ----------
        box : Box
            Inside the volume.
        labels : ndarray, shape of the box
        """
        labels = self._checked(labels)
        with self._alone("set labels", box):
            mask = self.levels[0].read(box) != labels
            mask |= self.authority.read(box) != HUMAN
            self._edit("truth", box, mask, labels, HUMAN)

    def undo(self) -> Box | None:
        """Take the latest stroke back; machine's voxels get the current prediction.

        Returns
        -------
        Box or None
            Around what changed; None if there was nothing to take back.
        """
        self.end_stroke()
        done = self._journal.strokes.done
        while done:
            box = self._take_back(done[-1], "undo")
            if box is not None:
                return box
            done.pop()  # its lines are damaged: nothing is known of it
        return None

    def redo(self) -> Box | None:
        """Bring back the stroke that was undone last.

        Returns
        -------
        Box or None
            Around what changed; None if there was nothing to bring back.
        """
        self.end_stroke()
        undone = self._journal.strokes.undone
        while undone:
            stroke = undone[-1]
            entries = self._entries(range(stroke.number, stroke.last + 1))
            box = self._replace([e.after for e in entries], "redo", stroke)
            if box is not None:
                return box
            undone.pop()
        return None

    def merge(self, prediction: CasePrediction) -> Generator[Progress, None, int]:
        """Give all voxels without a human's word the labels of a prediction.

        May run in a thread of its own while somebody paints, be stopped at any time
        and be done again.

        Parameters
        ----------
        prediction : CasePrediction
            Of this case.

        Yields
        ------
        Progress
            Row of chunks by row.

        Returns
        -------
        int
            Voxels whose label changed.

        Raises
        ------
        ReadError
            If the prediction is damaged.
        WriteError
            If the disk refuses.
        """
        machine = CachedVolume(prediction.labels / "0", lock=self._arrays.lock)
        check_grid(machine, self.levels[0])
        if self._merging:
            raise ConfigError(
                found="a prediction that is just being merged",
                needed="one at a time",
                do="wait for it to end",
            )
        self._merging = True
        try:
            stored = self.case.description()
            again = stored.get("merging") is not None
            self.case.set_merged(stored["prediction"], merging=prediction.number)
            self._machine = machine  # from now on undo gives its labels
            count = yield from merge_chunks(
                self._arrays,
                self._saver,
                machine,
                again=again,
                changed=self._tell_change,
            )
            self._saver.flush()
            self.case.set_merged(prediction.number, merging=None)
        finally:
            self._merging = False
        return count

    def flush(self) -> None:
        """Bring everything to disk, chunks too.

        Raises
        ------
        WriteError
            If the disk refuses; nothing is lost in memory, and may be tried again.
        """
        self._journal.wait(self._journal.seq)
        self._saver.flush()

    def close(self) -> None:
        """Bring everything to disk and end the threads. May be called twice.

        Raises
        ------
        WriteError
            If the disk refuses; the store stays open.
        """
        if self._journal.closed:
            return
        self.end_stroke()
        self.flush()
        self._saver.close()
        self._journal.close()

    @contextmanager
    def _alone(self, name: str, box: Box) -> Iterator[None]:
        """Make the edit of the block a stroke of its own, and tell it."""
        self.begin_stroke(name)
        self._arrays.load(box)
        with self._arrays.lock:
            yield
        self.end_stroke()
        self._tell_change(box)

    def _checked(self, values: Any) -> NDArray[Any]:
        labels, dtype = np.asarray(values), self.levels[0].dtype
        limit = np.iinfo(dtype).max
        if labels.size and (labels.min() < 0 or labels.max() > limit):
            raise ConfigError(
                found=f"labels from {labels.min()} to {labels.max()}",
                needed=f"values from 0 to {limit}",
                do="paint with one of the project's classes",
            )
        return labels.astype(dtype, copy=False)

    def _edit(
        self,
        kind: Kind,
        box: Box,
        mask: NDArray[np.bool_],
        labels: NDArray[Any],
        authority: int,
    ) -> None:
        """Change voxels of a box; the lock is held."""
        if not mask.any():
            return
        edges = [
            np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
            for axis in range(3)
        ]
        z, y, x = ((int(along[0]), int(along[-1]) + 1) for along in edges)
        inside = box_slices((z, y, x))
        starts = [low for low, _ in box]
        z, y, x = (
            (at + low, at + high)
            for at, (low, high) in zip(starts, (z, y, x), strict=True)
        )
        mask = mask[inside].copy()
        picked = labels[inside][mask]
        change = Change(
            box=(z, y, x),
            mask=mask,
            labels=picked,
            authority=np.full(len(picked), authority, np.uint8),
        )
        name = self._stroke or kind
        number = self._apply([change], kind, self._number, name)
        if self._stroke is not None:
            self._number = number

    def _apply(
        self, changes: Sequence[Change], kind: Kind, number: int | None, name: str
    ) -> int:
        """Change voxels and log it as one step; the lock is held."""
        entries = []
        time, first = now(), self._journal.seq + 1
        number = first if number is None else number
        for seq, change in enumerate(changes, start=first):
            before = self._arrays.state(change.box, change.mask)
            self._arrays.apply(change)
            entries.append(
                Entry(
                    seq=seq,
                    time=time,
                    kind=kind,
                    stroke=number,
                    name=name,
                    before=before,
                    after=change,
                    more=seq < first + len(changes) - 1,
                )
            )
        self._journal.append(entries)
        for entry in entries:
            self._journal.strokes.record(kind, number, name, entry.seq)
        return number

    def _take_back(self, stroke: Stroke, kind: Kind) -> Box | None:
        entries = self._entries(range(stroke.last, stroke.number - 1, -1))
        return self._replace([entry.before for entry in entries], kind, stroke)

    def _entries(self, numbers: Sequence[int]) -> list[Entry]:
        found = (self._journal.entry(seq) for seq in numbers)
        return [entry for entry in found if entry is not None]

    def _replace(
        self, changes: Sequence[Change], kind: Kind, stroke: Stroke
    ) -> Box | None:
        """Make changes as one step, machine's voxels by the current prediction."""
        changes = combine(changes)
        for change in changes:
            self._arrays.load(change.box)
        with self._arrays.lock:
            changes = [self._by_machine(change) for change in changes]
            if not changes:
                return None
            self._apply(changes, kind, stroke.number, stroke.name)
        box = bounding_box(change.box for change in changes)
        self._tell_change(box)
        return box

    def _by_machine(self, change: Change) -> Change:
        """Give voxels that fall back to the machine what it says now."""
        machine = change.authority == MACHINE
        if self._machine is None or not machine.any():
            return change
        labels = self._machine.read(change.box)[change.mask]
        labels = np.where(machine, labels, change.labels).astype(change.labels.dtype)
        return Change(
            box=change.box,
            mask=change.mask,
            labels=labels,
            authority=change.authority,
        )

    def _open_machine(self) -> CachedVolume | None:
        """Open the prediction that machine's voxels have, or are getting."""
        stored = self.case.description()
        number = stored.get("merging") or stored["prediction"]
        found = [p for p in self.case.predictions() if p.number == number]
        if not found:
            return None  # the labels in the journal are the best there is
        machine = CachedVolume(found[0].labels / "0", lock=self._arrays.lock)
        check_grid(machine, self.levels[0])
        return machine

    def _replay(self) -> tuple[str, ...]:
        """Bring chunks up to the journal; returns what was amiss."""
        lost = 0
        for seq in range(self._journal.flushed + 1, self._journal.seq + 1):
            entry = self._journal.entry(seq)
            if entry is None:
                lost += 1
                continue
            self._arrays.apply(self._by_machine(entry.after))
        if not self._journal.damaged:
            return ()
        return (
            f"{self._journal.damaged} damaged lines in {self._journal.path}: "
            f"{lost} edits were lost; all others are there",
        )

    def _tell_change(self, box: Box) -> None:
        for listener in tuple(self.changed):
            listener(box)

    def _tell_failure(self, error: Exception) -> None:
        if not self._told_failure:
            self._told_failure = True
            for listener in tuple(self.failed):
                listener(error)

    def _works_again(self) -> None:
        self._told_failure = False
