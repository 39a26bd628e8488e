"""Opening and closing in threads: one after the other, and never half."""

import collections
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
        """Write what is not written yet, and let go."""


OpenedT = TypeVar("OpenedT", bound=Closable)


class TaskQueue(Generic[OpenedT]):
    """Opens things in threads, in order; closes them in threads, at once.

    A task begins when what has been given to `close_soon` before is closed, so that
    the same thing may be opened again. After a problem the tasks that wait are dropped.

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
        self._errors: collections.deque[Exception] = collections.deque()
        self.busy = False

    def add(self, task: Callable[[Unwanted], OpenedT]) -> None:
        """Run a task when those before it are done."""
        self._tasks.append(task)
        self._next()

    def drop(self) -> None:
        """Forget the tasks that wait; what the running one opens is closed again."""
        self._turn += 1
        self._tasks.clear()

    def close_soon(self, close: Callable[[], None]) -> None:
        """Close something in a thread."""

        def work() -> None:
            try:
                close()
            except Exception as error:  # noqa: BLE001 - told by who asks for errors
                self._errors.append(error)

        self._closing = [thread for thread in self._closing if thread.is_alive()]
        thread = threading.Thread(target=work, name="closing")
        thread.start()
        self._closing.append(thread)

    def wait_until_closed(self) -> None:
        """Return when all that was given to `close_soon` is closed."""
        for thread in self._closing:
            thread.join()

    def errors(self) -> list[Exception]:
        """Return what went wrong in closing, each error once."""
        return [self._errors.popleft() for _ in range(len(self._errors))]

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
                self.close_soon(opened.close)
            elif opened is not None:
                self._done(opened)
            self._next()

        def failed(error: Exception) -> None:
            self.busy = False
            if not unwanted():
                self._tasks.clear()
                self._failed(error)
            self._next()

        work = functools.partial(_work, task, unwanted, tuple(self._closing))
        self._background.run(work, done, failed)


def _work(
    task: Callable[[Unwanted], OpenedT],
    unwanted: Unwanted,
    closing: Sequence[threading.Thread],
) -> OpenedT | None:
    for thread in closing:
        thread.join()
    opened = task(unwanted)
    if not unwanted():
        return opened
    opened.close()
    return None
