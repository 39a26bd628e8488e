"""Work in threads of the viewer's process: reading headers, writing files."""

from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import QObject, Signal
from superqt.utils import FunctionWorker, GeneratorWorker

__all__ = ["Background"]

_Worker = FunctionWorker | GeneratorWorker


class Background(QObject):
    """Runs functions in threads and brings their results to the GUI thread.

    Parameters
    ----------
    parent : QObject, optional
        Owner in Qt's sense.
    """

    idle = Signal()  # the last one has ended

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        # superqt lets go of a worker in its thread, and with it of what it said last.
        self._workers: set[_Worker] = set()

    @property
    def busy(self) -> bool:
        """Whether anything runs."""
        return bool(self._workers)

    def run(
        self,
        function: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Call a function in a thread; then `done` or `failed` on the GUI thread."""
        worker = FunctionWorker(function)
        self._start(worker, done, failed)

    def run_steps(
        self,
        steps: Callable[[], Generator[Any, None, Any]],
        step: Callable[[Any], None],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> GeneratorWorker:
        """Run a generator in a thread, with `step` for all it yields.

        Returns
        -------
        GeneratorWorker
            Its `quit()` stops the work at the next step; `done` is not called then.
        """
        worker = GeneratorWorker(steps)
        worker.yielded.connect(step)
        self._start(worker, done, failed)
        return worker

    def _start(
        self,
        worker: _Worker,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        worker.returned.connect(done)
        worker.errored.connect(failed)
        finished: Any = worker.finished  # its stub asks for an argument
        finished.connect(self._on_finished)
        self._workers.add(worker)
        worker.start()

    def _on_finished(self) -> None:
        ended = self.sender()
        self._workers = {one for one in self._workers if one.signals is not ended}
        if not self._workers:
            self.idle.emit()
