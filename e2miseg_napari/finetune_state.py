"""How far a fine-tuning is, and in words."""

from dataclasses import dataclass
from enum import Enum, auto

from e2miseg_napari.protocol import JobProgress
from e2miseg_napari.wording import time_in_words

__all__ = ["INSTEAD", "FinetunePhase", "FinetuneState", "step_in_words"]


class FinetunePhase(Enum):
    """What the fine-tuning is doing."""

    IDLE = auto()
    SAVING = auto()  # the last strokes go to disk, where the worker reads them
    STARTING = auto()  # the engine has the job and has not said more
    RUNNING = auto()
    PAUSING = auto()
    PAUSED = auto()
    FINISHING = auto()  # it trains no more; what was learned is tested
    DISCARDING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneState:
    """Phase, a line about it, and steps; `total` is 0 while unknown."""

    phase: FinetunePhase = FinetunePhase.IDLE
    line: str = ""
    done: int = 0
    total: int = 0


INSTEAD = {  # of the time left
    FinetunePhase.PAUSING: "pausing after this step",
    FinetunePhase.PAUSED: "paused",
}


def step_in_words(step: JobProgress, instead: str) -> str:
    """Return "step 41 of 150, about 3 min left", or how far another stage has come."""
    if step.stage != "training":
        share = f", {100 * step.done // step.total} %" if step.total else ""
        stage = f"{step.stage or 'working'}{share}"
        return f"{stage}, {instead}" if instead else f"{stage}…"
    where = f"step {step.done} of {step.total}"
    if instead:
        return f"{where}, {instead}"
    if step.seconds_left is None:
        return f"{where}, estimating the time left…"
    return f"{where}, {time_in_words(step.seconds_left)} left"
