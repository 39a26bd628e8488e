"""The worker's messages: one JSON object a line, checked before anyone acts on it.

What it is asked to do is in `jobs`; here is what comes back.

A worker may be replaced by any program that speaks these lines, so what arrives is
treated as a stranger's: a line that is no message gives None, never an exception.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = [
    "PROTOCOL_VERSION",
    "Block",
    "EdgesResult",
    "Event",
    "FinetuneResult",
    "JobCancelled",
    "JobFailed",
    "JobPaused",
    "JobProgress",
    "JobResult",
    "JobResumed",
    "JobStarted",
    "JobStores",
    "Pong",
    "PredictResult",
    "Ready",
    "Warned",
    "encode",
    "parse_event",
]

PROTOCOL_VERSION = 2

# Half-open box in voxels: (start, stop) along Z, Y, X.
Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker has started and listens.

    `device` is what it would choose by itself, empty where it does not say.
    """

    version: str
    protocol: int
    device: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """Answer to a ping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """The worker has taken up a job."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """Steps done of a job; `seconds_left` is None while unknown.

    `details` holds figures of this step, such as the loss; all are finite.
    """

    id: str
    done: int
    total: int
    stage: str
    seconds_left: float | None
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPaused:
    """A job that holds still until it is resumed."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResumed:
    """A paused job that goes on."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStores:
    """The empty stores that a job is going to fill."""

    id: str
    labels: str
    error_map: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Voxels that are final in both stores."""

    id: str
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictResult:
    """A finished prediction; `voxels` counts the voxels of each label value.

    `prediction` is its number in the project's case, and `edges` counts the uncertain
    edges found; None where no project was asked for.
    """

    id: str
    labels: str
    error_map: str
    seconds: float
    voxels: Mapping[int, int]
    summary: str = ""
    prediction: int | None = None
    edges: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgesResult:
    """Edges ranked anew: how many there are."""

    id: str
    edges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneResult:
    """A fine-tuning that came to its end: was the new model kept, and why.

    `version` is its number in the project, None where it was refused.
    """

    id: str
    kept: bool
    sentence: str
    figures: Mapping[str, object]
    version: int | None


JobResult: TypeAlias = PredictResult | EdgesResult | FinetuneResult


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled:
    """A job that ended because the user asked for it."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed:
    """A job that failed: `kind` is ``user`` (can be mended) or ``bug``.

    `engine_died` tells that nothing may be wrong with the job itself.
    """

    id: str
    kind: str
    message: str
    traceback: str = ""
    engine_died: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know although the job goes on."""

    message: str
    id: str = field(default="")


Event: TypeAlias = (
    Ready
    | Pong
    | JobStarted
    | JobProgress
    | JobPaused
    | JobResumed
    | JobStores
    | Block
    | JobResult
    | JobCancelled
    | JobFailed
    | Warned
)


def encode(message: Mapping[str, object]) -> bytes:
    """One line for the worker's standard input."""
    return json.dumps(message).encode() + b"\n"


def parse_event(line: bytes) -> Event | None:
    """Event in one line of the worker's output.

    Parameters
    ----------
    line : bytes
        UTF-8, without the line end.

    Returns
    -------
    Event or None
        None where the line is not a complete, sensible event: other output of a
        library, or an event that this version does not know.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    reader = _READERS.get(str(message.get("event")))
    if reader is None:
        return None
    try:
        return reader(message)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _ready(message: Mapping[str, Any]) -> Event:
    return Ready(
        version=str(message["version"]),
        device=str(message.get("device") or ""),
        protocol=int(message["protocol"]),
    )


def _pong(_message: Mapping[str, Any]) -> Event:
    return Pong()


def _started(message: Mapping[str, Any]) -> Event:
    return JobStarted(id=str(message["id"]))


def _progress(message: Mapping[str, Any]) -> Event:
    done, total = max(0, int(message["done"])), max(0, int(message["total"]))
    left = message.get("seconds_left")
    seconds = None if left is None else float(left)
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        seconds = None
    return JobProgress(
        id=str(message["id"]),
        done=min(done, total) if total else done,
        total=total,
        stage=str(message.get("stage", "")),
        seconds_left=seconds,
        details=_figures(message.get("details")),
    )


def _figures(details: object) -> dict[str, float]:
    """Numbers among the details; what else there is, is not for us."""
    if not isinstance(details, dict):
        return {}
    numbers = {
        name: float(value)
        for name, value in details.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _paused(message: Mapping[str, Any]) -> Event:
    return JobPaused(id=str(message["id"]))


def _resumed(message: Mapping[str, Any]) -> Event:
    return JobResumed(id=str(message["id"]))


def _stores(message: Mapping[str, Any]) -> Event:
    return JobStores(
        id=str(message["id"]),
        labels=str(message["labels"]),
        error_map=str(message["error_map"]),
    )


def _block(message: Mapping[str, Any]) -> Event:
    z, y, x = ((int(start), int(stop)) for start, stop in message["box"])
    return Block(id=str(message["id"]), box=(z, y, x))


def _result(message: Mapping[str, Any]) -> Event:
    """Each kind of job is told by what only its result has."""
    if "kept" in message:
        return _finetune_result(message)
    if "labels" in message:
        return _predict_result(message)
    return EdgesResult(id=str(message["id"]), edges=int(message["edges"]))


def _predict_result(message: Mapping[str, Any]) -> Event:
    return PredictResult(
        id=str(message["id"]),
        labels=str(message["labels"]),
        error_map=str(message["error_map"]),
        seconds=float(message["seconds"]),
        voxels={int(k): int(n) for k, n in dict(message.get("voxels", {})).items()},
        summary=str(message.get("summary", "")),
        prediction=_number(message.get("prediction")),
        edges=_number(message.get("edges")),
    )


def _finetune_result(message: Mapping[str, Any]) -> Event:
    return FinetuneResult(
        id=str(message["id"]),
        kept=message["kept"] is True,
        sentence=_one_line(message["sentence"]),
        figures=dict(message.get("figures") or {}),
        version=_number(message.get("version")),
    )


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _cancelled(message: Mapping[str, Any]) -> Event:
    return JobCancelled(id=str(message["id"]))


def _error(message: Mapping[str, Any]) -> Event:
    return JobFailed(
        id=str(message.get("id") or ""),
        kind="user" if message.get("kind") == "user" else "bug",
        message=_one_line(message["message"]) or "no reason given",
        traceback=str(message.get("traceback") or ""),
    )


def _warning(message: Mapping[str, Any]) -> Event:
    return Warned(
        id=str(message.get("id") or ""),
        message=_one_line(message["message"]),
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Event]] = {
    "ready": _ready,
    "pong": _pong,
    "started": _started,
    "progress": _progress,
    "paused": _paused,
    "resumed": _resumed,
    "stores": _stores,
    "block": _block,
    "result": _result,
    "cancelled": _cancelled,
    "error": _error,
    "warning": _warning,
}
