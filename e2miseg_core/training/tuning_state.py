"""Where a fine-tuning is, and what may be asked of it."""

from dataclasses import dataclass
from typing import Any

__all__ = ["FinetuneControl", "TuningState"]


@dataclass(slots=True)
class FinetuneControl:
    """What may be asked of a running fine-tuning; set from any thread.

    Attributes
    ----------
    finish : bool
        Train no further, go on to the test.
    """

    finish: bool = False


@dataclass(slots=True, kw_only=True)
class TuningState:
    """Where a fine-tuning is.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Spent on them.
    ended : bool
        No further steps will be done.
    diverged : bool
        The loss was no number; the weights are worth nothing.
    settings : dict
        What it was begun with.
    """

    step: int = 0
    seconds: float = 0.0
    ended: bool = False
    diverged: bool = False
    settings: dict[str, Any]
