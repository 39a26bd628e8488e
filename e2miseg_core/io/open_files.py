"""Files that are costly to open are kept open, but few: the system lets few be open."""

import itertools
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["KeptOpen"]

_MOST_IDLE = 32  # besides those that are being read

_numbers = itertools.count()


@dataclass
class _Open:
    handle: Any
    close: Callable[[], None]
    users: int = 0
    is_gone: bool = False  # closed by its last user


class _Pool:
    """Open files by key; those used longest ago are closed first.

    Files are closed outside of the lock, since libraries have locks of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._dead: deque[int] = deque()  # nobody's any more

    def take(self, key: int) -> _Open | None:
        with self._lock:
            found = self._open.get(key)
            if found is not None:
                found.users += 1
                self._open.move_to_end(key)
            return found

    def add(self, key: int, new: _Open) -> None:
        with self._lock:
            new.users = 1
            self._open[key] = new

    def give_back(self, used: _Open) -> None:
        with self._lock:
            used.users -= 1
            closing = [used] if used.is_gone and not used.users else []
            idle = [key for key, one in self._open.items() if not one.users]
            for key in (*self._take_dead(), *idle[: max(0, len(idle) - _MOST_IDLE)]):
                closing += self._remove(key)
        _close(closing)

    def forget(self, key: int) -> None:
        with self._lock:
            closing = self._remove(key)
        _close(closing)

    def abandon(self, key: int) -> None:
        """Forget, called while garbage is collected: anybody may hold the lock."""
        self._dead.append(key)
        if not self._lock.acquire(blocking=False):
            return  # who gives a file back does it
        try:
            closing = [one for key in self._take_dead() for one in self._remove(key)]
        finally:
            self._lock.release()
        _close(closing)

    def _take_dead(self) -> list[int]:
        return [self._dead.popleft() for _ in range(len(self._dead))]

    def _remove(self, key: int) -> list[_Open]:
        """Return what is to be closed."""
        gone = self._open.pop(key, None)
        if gone is None:
            return []
        gone.is_gone = True
        return [] if gone.users else [gone]


def _close(files: list[_Open]) -> None:
    for one in files:
        one.close()


_POOL = _Pool()


class KeptOpen:
    """One file that is opened when it is read, and stays open while there is room.

    Parameters
    ----------
    opener : callable
        Returns what reads the file, and what closes it. It must not hold the owner of
        this object, with which the file is closed.
    """

    def __init__(self, opener: Callable[[], tuple[Any, Callable[[], None]]]) -> None:
        self._opener = opener
        self._key = next(_numbers)
        self._lock = threading.Lock()  # so that it is opened once
        weakref.finalize(self, _POOL.abandon, self._key)

    def __reduce__(self) -> tuple[object, ...]:
        return KeptOpen, (self._opener,)

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        """Yield what reads the file; threads share it. After an error it is closed."""
        with self._lock:
            used = _POOL.take(self._key)
            if used is None:
                used = _Open(*self._opener())
                _POOL.add(self._key, used)
        try:
            yield used.handle
        except BaseException:
            _POOL.forget(self._key)  # which may be stale, as on a network drive
            raise
        finally:
            _POOL.give_back(used)
