"""Who wants to know of changes and of trouble."""

from typing import TYPE_CHECKING

from e2miseg_core.boxes import Box

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Listeners"]


class Listeners:
    """Callables to be told, in the thread in which something happens.

    Attributes
    ----------
    changed : list of callable
        Told boxes whose labels or authority changed.
    failed : list of callable
        Told an error when the disk begins to refuse; not again until it has worked.
    """

    def __init__(self) -> None:
        self.changed: list[Callable[[Box], None]] = []
        self.failed: list[Callable[[Exception], None]] = []
        self._failing = False

    def tell_change(self, box: Box | None) -> None:
        """Tell of a change, if there was one."""
        if box is None:
            return
        for listener in tuple(self.changed):
            listener(box)

    def tell_failure(self, error: Exception) -> None:
        """Tell that something could not be written."""
        if not self._failing:
            self._failing = True
            for listener in tuple(self.failed):
                listener(error)

    def works_again(self) -> None:
        """Take note that something was written."""
        self._failing = False
