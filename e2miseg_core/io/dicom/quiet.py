"""Silence about what pydicom and highdicom read: their warnings quote values.

The filters of warnings belong to the whole process, so none is put in and taken out
again: threads that do so at the same time leave "ignore everything" behind. One filter
stays, and matches only in threads that are reading.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quietly"]


class _Depth(threading.local):
    value = 0


_depth = _Depth()
_adding = threading.Lock()


class _InReadingThreads(type):
    """Of a category that every warning belongs to, where somebody is reading."""

    def __subclasscheck__(cls, subclass: type) -> bool:
        return _depth.value > 0 and issubclass(subclass, Warning)


class _WhileReading(Warning, metaclass=_InReadingThreads):
    pass


@contextmanager
def quietly() -> Iterator[None]:
    """Ignore the warnings of this thread, and of no other."""
    _depth.value += 1
    try:
        _put_first()
        yield
    finally:
        _depth.value -= 1


def _put_first() -> None:
    """Put the filter before those that a user or a test has set since."""
    with _adding:
        if not warnings.filters or warnings.filters[0][2] is not _WhileReading:
            warnings.simplefilter("ignore", _WhileReading)
