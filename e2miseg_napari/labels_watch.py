"""What happens to the labels on show, brought from their threads to the GUI thread."""

import collections
from collections.abc import Callable

from e2miseg_core.boxes import Box
from e2miseg_core.project import LabelStore

__all__ = ["LabelsWatch"]


class LabelsWatch:
    """Gathers changes and failures, to be told when somebody looks.

    Parameters
    ----------
    redraw : callable
        Gets boxes that were changed by other means than painting.
    edited : callable
        Called when labels have changed in whatever way.
    saved : callable
        Gets whether all is on disk, when that has changed.
    """

    def __init__(
        self,
        redraw: Callable[[set[Box]], None],
        edited: Callable[[], None],
        saved: Callable[[bool], None],
    ) -> None:
        self._redraw, self._edited, self._saved = redraw, edited, saved
        self._changed: collections.deque[Box] = collections.deque()
        self._failures: collections.deque[Exception] = collections.deque()
        self._seen = (0, True)  # edits made, and whether they are on disk

    def follow(self, store: LabelStore) -> None:
        """Begin with the labels of a case."""
        self._changed.clear()
        store.changed.append(self._changed.append)
        store.failed.append(self._failures.append)
        self._seen = (store.seq, store.saved_seq >= store.seq)
        self._saved(self._seen[1])

    def look(self, store: LabelStore) -> None:
        """Draw and tell what has happened since the last time."""
        boxes = {self._changed.popleft() for _ in range(len(self._changed))}
        self._redraw(boxes)
        before, self._seen = self._seen, (store.seq, store.saved_seq >= store.seq)
        if boxes or self._seen[0] != before[0]:
            self._edited()
        if self._seen[1] != before[1]:
            self._saved(self._seen[1])

    def failures(self) -> list[Exception]:
        """Return what the disk has refused, each once."""
        return [self._failures.popleft() for _ in range(len(self._failures))]
