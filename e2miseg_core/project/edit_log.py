"""Edits made, logged and taken back: voxels, journal and prediction held together."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from e2miseg_core.boxes import Box, bounding_box
from e2miseg_core.errors import ReadError
from e2miseg_core.project.authority import MACHINE
from e2miseg_core.project.changes import Change, combine
from e2miseg_core.project.clock import now
from e2miseg_core.project.journal import Journal
from e2miseg_core.project.journal_entries import Entry, Kind
from e2miseg_core.project.label_arrays import LabelArrays
from e2miseg_core.project.predictions import CasePrediction
from e2miseg_core.project.strokes import Stroke

if TYPE_CHECKING:
    from e2miseg_core.project.chunk_cache import CachedVolume

__all__ = ["EditLog"]


class EditLog:
    """What every edit goes through.

    Parameters
    ----------
    arrays : LabelArrays
        The voxels.
    journal : Journal
        Of the same case.

    Attributes
    ----------
    arrays : LabelArrays
        As given.
    machine : CachedVolume or None
        Labels of the current prediction; may be exchanged at any time.
    """

    def __init__(self, arrays: LabelArrays, journal: Journal) -> None:
        self.arrays, self._journal = arrays, journal
        self.machine: CachedVolume | None = None

    def follow(self, prediction: CasePrediction | None) -> tuple[str, ...]:
        """Take the prediction that machine's voxels have; returns what is amiss."""
        if prediction is None:
            return ()
        try:
            self.machine = self.arrays.open_beside(prediction.labels)
        except ReadError as error:
            # Labels can be edited without: undo then gives what was there before.
            return (f"{error.found}: predict again before undoing",)
        return ()

    def replay(self) -> tuple[str, ...]:
        """Make the edits again whose chunks may not be on disk.

        Returns
        -------
        tuple of str
            What was amiss, for the user.
        """
        lost = 0
        numbers = range(self._journal.flushed + 1, self._journal.seq + 1)
        for entry in self._journal.entries(numbers):
            if entry is None:
                lost += 1
            else:
                self.arrays.apply(self._by_machine(entry.after))
        if not self._journal.damaged:
            return ()
        return (
            f"{self._journal.damaged} damaged lines in {self._journal.path}: "
            f"{lost} edits were lost; all others are there",
        )

    def make(
        self, changes: Sequence[Change], kind: Kind, number: int | None, name: str
    ) -> int:
        """Change voxels and log it as one step. The arrays' lock is held.

        Parameters
        ----------
        changes : sequence of Change
            At least one.
        kind : str
            What is done.
        number : int or None
            Of the stroke that this belongs to; None for a new one.
        name : str
            Of the stroke.

        Returns
        -------
        int
            Number of the stroke.
        """
        entries = []
        time, first = now(), self._journal.seq + 1
        last = first + len(changes) - 1
        number = first if number is None else number
        for seq, change in enumerate(changes, start=first):
            before = self.arrays.state(change.box, change.mask)
            self.arrays.apply(change)
            entries.append(
                Entry(
                    seq=seq,
                    time=time,
                    kind=kind,
                    stroke=number,
                    name=name,
                    before=before,
                    after=change,
                    more=seq < last,
                )
            )
        self._journal.append(entries)
        for seq in range(first, last + 1):
            self._journal.strokes.record(kind, number, name, seq)
        return number

    def undo(self) -> Box | None:
        """Take back the latest stroke of which a line can be read.

        Returns
        -------
        Box or None
            Around what changed; None if there was nothing to take back.
        """
        done = self._journal.strokes.done
        return self._move(done, lambda stroke: self._take_back(stroke, "undo"))

    def redo(self) -> Box | None:
        """Bring back the stroke that was undone last; returns as `undo`."""
        return self._move(self._journal.strokes.undone, self._bring_back)

    def abort(self, number: int) -> Box | None:
        """Take back a stroke for good, if it is the latest; returns as `undo`."""
        done = self._journal.strokes.done
        if not done or done[-1].number != number:
            return None
        return self._take_back(done[-1], "abort")

    def _move(
        self, strokes: list[Stroke], move: Callable[[Stroke], Box | None]
    ) -> Box | None:
        while strokes:
            box = move(strokes[-1])
            if box is not None:
                return box
            strokes.pop()  # its lines are damaged: nothing is known of it
        return None

    def _take_back(self, stroke: Stroke, kind: Kind) -> Box | None:
        """Give the voxels of a stroke what they had, machine's what it says now.

        Returns
        -------
        Box or None
            Around what changed; None if no line of the stroke can be read.
        """
        entries = self._entries(range(stroke.last, stroke.number - 1, -1))
        return self._replace([entry.before for entry in entries], kind, stroke)

    def _bring_back(self, stroke: Stroke) -> Box | None:
        """Make the edits of a stroke again; returns as `_take_back`."""
        entries = self._entries(range(stroke.number, stroke.last + 1))
        return self._replace([entry.after for entry in entries], "redo", stroke)

    def _entries(self, numbers: Sequence[int]) -> list[Entry]:
        found = self._journal.entries(numbers)
        return [entry for entry in found if entry is not None]

    def _replace(
        self, changes: Sequence[Change], kind: Kind, stroke: Stroke
    ) -> Box | None:
        changes = combine(changes)
        if not changes:
            return None
        for change in changes:
            self.arrays.load(change.box)
        with self.arrays.lock:
            settled = [self._by_machine(change) for change in changes]
            self.make(settled, kind, stroke.number, stroke.name)
        return bounding_box(change.box for change in changes)

    def _by_machine(self, change: Change) -> Change:
        """Give voxels that fall back to the machine what it says now."""
        machine = change.authority == MACHINE
        if self.machine is None or not machine.any():
            return change
        labels = self.machine.read(change.box)[change.mask]
        labels = np.where(machine, labels, change.labels).astype(change.labels.dtype)
        return Change(
            box=change.box,
            mask=change.mask,
            labels=labels,
            authority=change.authority,
        )
