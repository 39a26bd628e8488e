"""Opening volumes in threads, with progress in napari's activity dock."""

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from napari.utils import cancelable_progress
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from e2miseg_core.errors import Cancelled, ChoiceError
from e2miseg_core.io.address import Address
from e2miseg_core.io.naming import short_name
from e2miseg_core.progress import Progress
from e2miseg_napari import choosing
from e2miseg_napari.background import Background
from e2miseg_napari.convert import LayerData
from e2miseg_napari.loading import load_layers
from e2miseg_napari.problems import problem_of

__all__ = ["VolumeOpening"]

Load: TypeAlias = Callable[..., list[LayerData]]

_LOOK_MS = 100
_STEPS = 1000  # of the bar


class VolumeOpening(QObject):
    """Opens what the user names; the window never waits for it.

    Parameters
    ----------
    parent : QWidget
        That asks the user which image is meant where there are several.
    """

    opened = Signal(list)  # of LayerData
    problem = Signal(object)  # Problem
    notice = Signal(str)  # a line about what is going on; empty when it is done

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._window = parent
        self._background = Background(self)
        self._tasks: list[_Task] = []
        self._n_cancelled = 0  # times that all was cancelled
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_look)

    @property
    def busy(self) -> bool:
        """Whether something is being opened."""
        return bool(self._tasks)

    def open(self, source: str | Address, load: Load | None = None) -> None:
        """Open a file, a folder or a URL; see `e2miseg_core.io.open_volume`.

        Parameters
        ----------
        source : str or Address
        load : callable, optional
            Makes the layers, instead of `load_layers`: `load_labels` where the user
            says that the voxels are labels.
        """
        try:
            address = Address.parse(source)
        except OSError as error:  # a frame that is no number
            self.problem.emit(problem_of(error))
            return
        task = _Task(address)
        self._tasks.append(task)
        self.notice.emit(f"Opening {short_name(address)}…")
        self._timer.start(_LOOK_MS)
        self._background.run(
            partial(load or load_layers, address, task.report, task.is_cancelled),
            partial(self._on_done, task),
            partial(self._on_error, task),
        )

    def cancel(self) -> None:
        """Open nothing of what is being opened, or being asked about."""
        self._n_cancelled += 1
        for task in self._tasks:
            task.cancel()

    def _on_look(self) -> None:
        for task in list(self._tasks):
            task.show()
            if task.is_cancelled():  # its thread may take longer to notice
                self._end(task)

    def _on_done(self, task: "_Task", layers: list[LayerData]) -> None:
        if self._end(task):
            self.opened.emit(layers)

    def _on_error(self, task: "_Task", error: Exception) -> None:
        if not self._end(task):
            return
        if isinstance(error, ChoiceError):
            self._ask(task.address, error)
        elif not isinstance(error, Cancelled):
            self.problem.emit(problem_of(error))

    def _ask(self, address: Address, error: ChoiceError) -> None:
        before = self._n_cancelled
        name = short_name(address)
        chosen = choosing.ask_choices(name, error.choices, self._window)
        # The window may have been closed over the question.
        if chosen and before == self._n_cancelled:
            for choice in chosen:
                self.open(replace(address, part=choice.part))

    def _end(self, task: "_Task") -> bool:
        """Forget a task; False if nobody waits for it any more."""
        if task not in self._tasks:
            return False
        self._tasks.remove(task)
        # Nobody may have looked since the user cancelled.
        is_wanted = not task.is_cancelled()
        task.close()
        if not self._tasks:
            self._timer.stop()
        self.notice.emit("")
        return is_wanted


class _Task:
    """One volume on its way, and its bar in the activity dock."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._step = Progress(done=0, total=0, stage="opening")
        self._cancelled = False
        # tqdm would draw on the terminal as well.
        self._bar = cancelable_progress(
            total=0,
            desc=f"opening {short_name(address)}",
            cancel_callback=self.cancel,
            file=io.StringIO(),
        )

    def report(self, step: Progress) -> None:
        """Take note of progress, in the thread that works."""
        self._step = step

    def cancel(self) -> None:
        """Say that the result is not wanted any more."""
        self._cancelled = True

    def is_cancelled(self) -> bool:
        """Whether the user has cancelled, here or in the activity dock."""
        return self._cancelled or bool(self._bar.is_canceled)

    def show(self) -> None:
        """Bring the bar up to date, in the GUI thread."""
        step = self._step
        if step.stage != self._bar.desc.removesuffix(": "):
            self._bar.set_description(step.stage)
        total = _STEPS if step.total else 0
        if total != self._bar.total:
            self._bar.total = total
        if total:
            self._bar.update(_STEPS * step.done // step.total - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
