"""Long work as generators that report where they are and can be stopped there."""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from e2miseg_core.errors import Cancelled

__all__ = ["Job", "Progress", "TimeLeft", "run"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a job.

    Attributes
    ----------
    done, total : int
        Steps finished and steps in all; `total` is 0 when unknown.
    stage : str
        What is being done, in words for the user.
    details : mapping
        Figures or facts of this step, JSON values only.
    """

    done: int
    total: int
    stage: str
    details: Mapping[str, object] = field(default_factory=dict)


# A long function yields Progress wherever it may be stopped, and returns its result.
Job: TypeAlias = Generator[Progress, None, T]


def run(
    job: Generator[Progress, None, T],
    on_progress: Callable[[Progress], None] | None = None,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> T:
    """Run a job to its end.

    Parameters
    ----------
    job : generator of Progress
        It is closed, so that it can clean up, when cancelled.
    on_progress : callable, optional
        Called with each `Progress`.
    cancelled : callable, optional
        Asked after each step.

    Returns
    -------
    object
        What the job returns.

    Raises
    ------
    Cancelled
        If `cancelled()` became true.
    """
    try:
        while True:
            try:
                step = next(job)
            except StopIteration as end:
                value: T = end.value
                return value
            if on_progress is not None:
                on_progress(step)
            if cancelled is not None and cancelled():
                raise Cancelled
    finally:
        job.close()  # it cleans up now, not when it happens to be collected


class TimeLeft:
    """Estimate of the seconds left, from the steps done so far.

    The first step is left out of the rate, since it carries warm-up.

    Parameters
    ----------
    clock : callable, optional
        Returns seconds; a test may give its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[int, float] | None = None

    def update(self, done: int, total: int) -> float | None:
        """Seconds left after `done` of `total` steps, None while unknown."""
        now = self._clock()
        if done < 1:
            return None
        if self._first is None:
            self._first = (done, now)
            return None
        steps, start = done - self._first[0], self._first[1]
        if steps < 1:
            return None
        return (now - start) / steps * max(0, total - done)
