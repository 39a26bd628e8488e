"""The worker's messages: one JSON object a line, checked before anyone acts on it.

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
    "Event",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobProgress",
    "JobResult",
    "JobStarted",
    "JobStores",
    "Pong",
    "Ready",
    "Warned",
    "encode",
    "parse_event",
]

PROTOCOL_VERSION = 1

# Half-open box in voxels: (start, stop) along Z, Y, X.
Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A prediction to ask for.

    Attributes
    ----------
    id : str
        Name under which all events of the job come back.
    image : str
        Path or URI that `e2miseg_core.io.open_volume` can open.
    model : str
        Name of an installed model or path of a model file.
    output : str
        Folder that the worker creates its stores in.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    mirror : bool
        Predict mirrored copies too and average them.
    """

    id: str
    image: str
    model: str
    output: str
    device: str = "auto"
    mirror: bool = False

    def command(self) -> dict[str, object]:
        """Message that starts the job."""
        return {
            "command": "predict",
            "id": self.id,
            "image": self.image,
            "model": self.model,
            "output": self.output,
            "device": self.device,
            "mirror": self.mirror,
        }


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
    """Steps done of a job; `seconds_left` is None while unknown."""

    id: str
    done: int
    total: int
    stage: str
    seconds_left: float | None


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
class JobResult:
    """A finished job; `voxels` counts the voxels of each label value."""

    id: str
    labels: str
    error_map: str
    seconds: float
    voxels: Mapping[int, int]
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled:
    """A job that ended because the user asked for it."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed:
    """A job that failed: `kind` is ``user`` (can be mended) or ``bug``."""

    id: str
    kind: str
    message: str
    traceback: str = ""


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
    )


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
    return JobResult(
        id=str(message["id"]),
        labels=str(message["labels"]),
        error_map=str(message["error_map"]),
        seconds=float(message["seconds"]),
        voxels={int(k): int(n) for k, n in dict(message.get("voxels", {})).items()},
        summary=str(message.get("summary", "")),
    )


def _cancelled(message: Mapping[str, Any]) -> Event:
    return JobCancelled(id=str(message["id"]))


def _error(message: Mapping[str, Any]) -> Event:
    return JobFailed(
        id=str(message.get("id") or ""),
        kind="user" if message.get("kind") == "user" else "bug",
        message=" ".join(str(message["message"]).split()) or "no reason given",
        traceback=str(message.get("traceback") or ""),
    )


def _warning(message: Mapping[str, Any]) -> Event:
    return Warned(
        id=str(message.get("id") or ""),
        message=" ".join(str(message["message"]).split()),
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Event]] = {
    "ready": _ready,
    "pong": _pong,
    "started": _started,
    "progress": _progress,
    "stores": _stores,
    "block": _block,
    "result": _result,
    "cancelled": _cancelled,
    "error": _error,
    "warning": _warning,
}
