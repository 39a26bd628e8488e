"""Opening and closing in threads: one after the other, and never half."""

import collections
import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from e2miseg_napari.background import Background

__all__ = ["TaskQueue", "Unwanted"]

# Says whether nobody waits for the result any more.
Unwanted: TypeAlias = Callable[[], bool]


class Closable(Protocol):
    """What a task opens."""

    def close(self) -> None:
        """Write what is not written yet, and let go; after an error, once more."""


OpenedT = TypeVar("OpenedT", bound=Closable)


class TaskQueue(Generic[OpenedT]):
    """Opens things in threads, in order; closes them in threads, at once.

    A task begins when what has been given to `close_soon` before is closed, so that
    the same thing may be opened again. After a problem the tasks that wait are dropped.
    What cannot be closed, because the disk is full, is kept to be closed later.

    Parameters
    ----------
    background : Background
        Runs the tasks.
    done : callable
        Gets what a task has opened, on the GUI thread.
    failed : callable
        Gets what it raised.
    """

    def __init__(
        self,
        background: Background,
        done: Callable[[OpenedT], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._background, self._done, self._failed = background, done, failed
        self._tasks: collections.deque[Callable[[Unwanted], OpenedT]] = (
            collections.deque()
        )
        self._turn = 0  # tasks of an earlier one are not wanted any more
        self._closing: list[threading.Thread] = []
        self._kept: list[tuple[OpenedT, Exception]] = []
        self._trying = threading.Lock()
        self._errors: collections.deque[Exception] = collections.deque()
        self.busy = False

    @property
    def closing(self) -> bool:
        """Whether anything is still to be closed, under way or kept for later."""
        return any(thread.is_alive() for thread in self._closing) or bool(self._kept)

    @property
    def kept(self) -> tuple[tuple[OpenedT, Exception], ...]:
        """What could not be closed so far, and why."""
        return tuple(self._kept)

    def add(self, task: Callable[[Unwanted], OpenedT]) -> None:
        """Run a task when those before it are done."""
        self._tasks.append(task)
        self._next()

    def drop(self) -> None:
        """Forget the tasks that wait; what the running one opens is closed again."""
        self._turn += 1
        self._tasks.clear()

    def close_soon(self, opened: OpenedT) -> None:
        """Close something in a thread."""
        self._start(functools.partial(self._close, opened))

    def close_again(self) -> None:
        """Try once more, in a thread, to close what could not be closed."""
        busy = any(thread.is_alive() for thread in self._closing)
        if self._kept and not busy:  # a disk that hangs is not asked twice
            self._start(self._close_kept)

    def wait_until_closed(self) -> None:
        """Return when all is closed or kept, which was given to `close_soon`."""
        for thread in self._closing:
            thread.join()

    def trouble(self) -> list[Exception]:
        """Close what can be closed, now; return why the rest cannot."""
        self.wait_until_closed()
        self.close_again()
        self.wait_until_closed()
        return [error for _, error in self._kept]

    def errors(self) -> list[Exception]:
        """Return what went wrong in closing, each error once."""
        return [self._errors.popleft() for _ in range(len(self._errors))]

    def _start(self, work: Callable[[], None]) -> None:
        self._closing = [thread for thread in self._closing if thread.is_alive()]
        thread = threading.Thread(target=work, name="closing")
        thread.start()
        self._closing.append(thread)

    def _close(self, opened: OpenedT) -> None:
        try:
            opened.close()
        except Exception as error:  # noqa: BLE001 - told by who asks for errors
            self._kept.append((opened, error))
            self._errors.append(error)

    def _close_kept(self) -> None:
        """Try again; the user knows what went wrong."""
        with self._trying:
            for entry in list(self._kept):
                with contextlib.suppress(Exception):
                    entry[0].close()
                    self._kept.remove(entry)

    def _next(self) -> None:
        if self.busy or not self._tasks:
            return
        self.busy = True
        task, turn = self._tasks.popleft(), self._turn

        def unwanted() -> bool:
            return self._turn != turn

        def done(opened: OpenedT | None) -> None:
            self.busy = False
            if opened is not None and unwanted():
                self.close_soon(opened)
            elif opened is not None:
                self._done(opened)
            self._next()

        def failed(error: Exception) -> None:
            self.busy = False
            if not unwanted():
                self._tasks.clear()
                self._failed(error)
            self._next()

        work = functools.partial(self._work, task, unwanted, tuple(self._closing))
        self._background.run(work, done, failed)

    def _work(
        self,
        task: Callable[[Unwanted], OpenedT],
        unwanted: Unwanted,
        closing: Sequence[threading.Thread],
    ) -> OpenedT | None:
        for thread in closing:
            thread.join()
        self._close_kept()
        opened = task(unwanted)
        if not unwanted():
            return opened
        self._close(opened)
        return None
