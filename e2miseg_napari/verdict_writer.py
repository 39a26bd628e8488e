"""Verdicts brought to disk in a thread, in the order in which they were given."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QObject, Signal

from e2miseg_core.boxes import Box
from e2miseg_core.project import Case, Edge, Verdict

__all__ = ["Given", "VerdictWriter"]


@dataclass(eq=False, kw_only=True)
class Given:
    """A verdict that is being written, and the one that it replaces."""

    case: Case
    prediction: int
    edge: Edge
    verdict: Verdict
    before: Verdict | None
    error: Exception | None = None

    @property
    def of(self) -> tuple[Path, int]:
        """Which list of edges it belongs to."""
        return self.case.folder, self.prediction


class VerdictWriter(QObject):
    """Appends verdicts to their cases' logs; nobody waits for the disk.

    Parameters
    ----------
    parent : QObject, optional
        Owner in Qt's sense.
    """

    failed = Signal(object)  # Given, with its error
    _ended = Signal(object)  # Given; brings it to the GUI thread

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verdicts")
        self._pending: list[Given] = []
        self._ended.connect(self._on_ended)

    def write(self, given: Given) -> None:
        """Write a verdict after those before it."""
        self._pending.append(given)
        self._thread.submit(self._append, given)

    def pending(self, of: tuple[Path, int] | None) -> dict[Box, Verdict]:
        """Verdicts on a list of edges that may not be on the disk yet."""
        return {one.edge.box: one.verdict for one in self._pending if one.of == of}

    def wait(self) -> list[Exception]:
        """Return when all are written, with what went wrong and is not told yet."""
        self._thread.submit(int).result()  # the one thread takes them in order
        return [one.error for one in self._pending if one.error is not None]

    def _append(self, given: Given) -> None:
        try:
            log = given.case.review()
            log.append(given.edge, given.verdict, prediction=given.prediction)
        except Exception as error:  # noqa: BLE001 - told on the GUI thread
            given.error = error
        self._ended.emit(given)

    def _on_ended(self, given: Given) -> None:
        self._pending.remove(given)
        if given.error is not None:
            self.failed.emit(given)
