"""The one way in which labels change: painted, accepted, undone, merged."""

import atexit
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_shape, clip_box
from e2miseg_core.errors import E2MISegError
from e2miseg_core.progress import Progress
from e2miseg_core.project.authority import ACCEPTED, HUMAN, MACHINE
from e2miseg_core.project.changes import Change
from e2miseg_core.project.edit_log import EditLog
from e2miseg_core.project.journal import Journal
from e2miseg_core.project.journal_entries import Kind
from e2miseg_core.project.keys import basic_box
from e2miseg_core.project.label_arrays import LabelArrays
from e2miseg_core.project.listeners import Listeners
from e2miseg_core.project.lock import ProjectInUse, ProjectLock, is_held_here
from e2miseg_core.project.merge import Merging
from e2miseg_core.project.predictions import CasePrediction
from e2miseg_core.project.saver import ChunkSaver
from e2miseg_core.project.strokes import OpenStroke

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
        If this process does not hold the lock, or has opened these labels already.
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
        self._listeners = Listeners()
        self.changed, self.failed = self._listeners.changed, self._listeners.failed
        self._stroke: OpenStroke | None = None
        self._arrays = LabelArrays(
            case.labels_path, case.authority_path, on_write=self.write
        )
        self.levels, self.authority = self._arrays.levels, self._arrays.authority
        with ExitStack() as opened:
            self._lock = ProjectLock(case.folder)  # not even we open it twice
            opened.callback(self._lock.close)
            self._journal = Journal(
                case.journal_path,
                on_saved=self._listeners.works_again,
                on_failed=self._listeners.tell_failure,
            )
            opened.callback(self._journal.close)
            self._log = EditLog(self._arrays, self._journal)
            if case.merging is not None or self._journal.seq > self._journal.flushed:
                self._arrays.remove_torn_chunks()
            notes = self._log.follow(case.merging or case.merged)
            self.notes = (*notes, *self._log.replay(), *case.review().notes())
            opened.pop_all()
        atexit.register(self._save_at_exit)
        self._saver = ChunkSaver(
            self._arrays, self._journal, on_failed=self._listeners.tell_failure
        )
        self._merging = Merging(
            case, self._log, self._saver, changed=self._listeners.tell_change
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
    def last_done(self) -> str:
        """Name of the stroke that `undo` would take back; empty if there is none."""
        done = self._journal.strokes.done
        return done[-1].name if done else ""

    @property
    def last_undone(self) -> str:
        """Name of the stroke that `redo` would bring back; empty if there is none."""
        undone = self._journal.strokes.undone
        return undone[-1].name if undone else ""

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
        size = box_shape(box)
        kept = [n for axis, n in enumerate(size) if axis not in dropped]
        labels = np.broadcast_to(self._arrays.as_labels(values), kept).reshape(size)
        self._saver.postpone()
        self._arrays.load(box)
        with self._arrays.lock:
            mask = self.levels[0].read(box) != labels
            self._edit("paint", box, mask, labels, HUMAN)

    def paint(self, box: Box, mask: NDArray[np.bool_], labels: Any) -> None:
        """Give voxels labels as a human, who vouches for those that have them too.

        Nothing is done to the other voxels of the box, whatever becomes of them
        between the moment at which the mask was made and this one.

        Parameters
        ----------
        box : Box
            Inside the volume.
        mask : ndarray of bool, shape of the box
            Which voxels of it.
        labels : array_like
            Their labels, which broadcast to the box.

        Raises
        ------
        ConfigError
            If a label does not fit the type of the labels.
        """
        labels = np.broadcast_to(self._arrays.as_labels(labels), mask.shape)
        self._saver.postpone()
        self._arrays.load(box)
        with self._arrays.lock:
            self._set_as_human("paint", box, mask, labels)

    def begin_stroke(self, name: str) -> None:
        """Make all edits until `end_stroke` one step of undo."""
        self._stroke = OpenStroke(name)

    def end_stroke(self) -> None:
        """End the stroke under way, if there is one."""
        self._stroke = None

    def abort_stroke(self) -> None:
        """End the stroke under way and take it back, never to be redone."""
        number = None if self._stroke is None else self._stroke.number
        self.end_stroke()
        if number is not None:
            self._listeners.tell_change(self._log.abort(number))

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
        labels = self._arrays.as_labels(labels)
        with self._alone("set labels", box):
            self._set_as_human("truth", box, np.ones(labels.shape, bool), labels)

    def undo(self) -> Box | None:
        """Take the latest stroke back; machine's voxels get the current prediction.

        Returns
        -------
        Box or None
            Around what changed; None if there was nothing to take back.
        """
        self.end_stroke()
        box = self._log.undo()
        self._listeners.tell_change(box)
        return box

    def redo(self) -> Box | None:
        """Bring back the stroke that was undone last.

        Returns
        -------
        Box or None
            Around what changed; None if there was nothing to bring back.
        """
        self.end_stroke()
        box = self._log.redo()
        self._listeners.tell_change(box)
        return box

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
        Cancelled
            If the store is being closed.
        """
        return self._merging.run(prediction)

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
        with self._merging.ended():
            self.flush()
        self._saver.close()
        self._journal.close()
        atexit.unregister(self._save_at_exit)
        self._lock.close()

    @contextmanager
    def _alone(self, name: str, box: Box) -> Iterator[None]:
        """Make the edit of the block a stroke of its own, and tell it.

        A stroke under way goes on afterwards, as another step above this one.
        """
        self._arrays.load(box)
        with self._arrays.lock:
            under_way, own = self._stroke, OpenStroke(name)
            self._stroke = own
            try:
                yield
            finally:
                self._stroke = under_way
            if under_way is not None and own.number is not None:
                under_way.number = None
        self._listeners.tell_change(box)

    def _set_as_human(
        self, kind: Kind, box: Box, mask: NDArray[np.bool_], labels: NDArray[Any]
    ) -> None:
        """Make voxels a human's that are not, or not so; the lock is held."""
        new = self.levels[0].read(box) != labels
        new |= self.authority.read(box) != HUMAN
        self._edit(kind, box, new & mask, labels, HUMAN)

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
        change = Change.crop(box, mask, labels, authority)
        stroke = self._stroke or OpenStroke(kind)
        stroke.number = self._log.make([change], kind, stroke.number, stroke.name)

    def _save_at_exit(self) -> None:
        """A program that forgets to close the store loses no edit."""
        with suppress(E2MISegError):
            self._journal.wait(self._journal.seq)
