"""How long a training still takes, from what its parts took."""

import time
from collections.abc import Callable

__all__ = ["TrainingClock"]

NEWEST = 0.02  # weight of the newest step in the mean, so that it follows the machine


class TrainingClock:
    """Measures steps and validations of a run, and foretells the rest.

    Parameters
    ----------
    validation_seconds : float, optional
        Of an earlier sitting.
    now : callable, optional
        Returns seconds; a test may give its own.

    Attributes
    ----------
    training_seconds, waiting_seconds : float
        Of this epoch: in steps, and in waiting for their batches.
    """

    def __init__(
        self,
        validation_seconds: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self.validation_seconds = validation_seconds
        self.training_seconds = self.waiting_seconds = 0.0
        self._steps = 0
        self._step_seconds: float | None = None
        self._lap = now()

    def lap(self) -> float:
        """Seconds since the last lap, or since the clock was made."""
        before, self._lap = self._lap, self.now()
        return self._lap - before

    def begin_epoch(self) -> None:
        """Forget the sums of the last one."""
        self.training_seconds = self.waiting_seconds = 0.0

    def step(self, waited: float, worked: float) -> None:
        """Note what a step took; the first one carries warm-up and is no measure."""
        self.waiting_seconds += waited
        self.training_seconds += waited + worked
        self._steps += 1
        if self._steps == 1:
            return
        old = self._step_seconds
        share = max(NEWEST, 1 / (self._steps - 1))
        took = waited + worked
        self._step_seconds = took if old is None else old + share * (took - old)

    def validated(self, seconds: float) -> None:
        """Note what a look at the selection cases took."""
        self.validation_seconds = seconds

    def seconds_left(self, steps: int, validations: int) -> float | None:
        """Seconds that so many steps and validations take; None while unknown."""
        if self._step_seconds is None:
            return None
        return steps * self._step_seconds + validations * (
            self.validation_seconds or 0.0
        )
