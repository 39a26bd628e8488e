"""Memory of a process and all of its children, looked at again and again."""

import threading
from typing import Self

import psutil

__all__ = ["TreeMemory"]

PERIOD_S = 0.5


class TreeMemory:
    """Most memory that a process and its descendants held together in a block.

    Pages that several of them share count once (proportional set size).

    Parameters
    ----------
    pid : int, optional
        This process where left out.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._most = 0

    @property
    def mib(self) -> int:
        """The most seen so far."""
        return round(self._most / 2**20)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self._look()

    def _look(self) -> None:
        try:
            every = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:  # it has ended
            return
        self._most = max(self._most, sum(map(_held, every)))


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, OSError):  # it has just ended
        return 0
