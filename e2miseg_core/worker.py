"""The worker process: owns torch and the device, one JSON object a line both ways.

Commands on standard input, events on standard output (design, section 5); the
protocol is written down in `docs/worker.md`. Bulk data goes through stores on disk.
The end of standard input ends the worker, so it does not outlive its viewer.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from e2miseg_core import __version__
from e2miseg_core.errors import Cancelled, ConfigError, as_user_error
from e2miseg_core.inference.prediction import PredictionOptions, predict_job
from e2miseg_core.inference.results import ERROR_MAP, LABELS
from e2miseg_core.io import open_volume
from e2miseg_core.model import Model, load_model
from e2miseg_core.models import find_model
from e2miseg_core.progress import Progress, TimeLeft, run

__all__ = ["PROTOCOL", "Worker", "main"]

PROTOCOL = 1
NICENESS = 10  # the viewer goes first


class Worker:
    """Answers commands, one job at a time, in the order in which they come.

    Parameters
    ----------
    out : TextIO
        Where events go.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._jobs: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._open: set[str] = set()  # waiting or running
        self._cancelled: set[str] = set()
        self._ended = threading.Event()
        self._model: tuple[tuple[Path, int], Model] | None = None

    def listen(self, lines: BinaryIO) -> None:
        """Read commands until the input ends; runs beside `work`, in a thread."""
        try:
            for line in lines:
                if line.strip():
                    self._take(line.decode("utf-8", errors="replace"))
                if self._ended.is_set():
                    break
        finally:  # whatever happens, the worker must not outlive its input
            self._ended.set()
            self._jobs.put(None)

    def work(self) -> None:
        """Do the jobs until the input ends or a shutdown is asked for."""
        self.emit("ready", version=__version__, protocol=PROTOCOL, pid=os.getpid())
        while (command := self._jobs.get()) is not None:
            self._do(command)

    def emit(self, event: str, **values: object) -> None:
        """Write one event; a reader that has gone away ends the worker."""
        line = json.dumps({"event": event, **values}, allow_nan=False)
        try:
            with self._writing:
                self._out.write(line + "\n")
                self._out.flush()
        except (BrokenPipeError, ValueError):
            self._ended.set()

    def _take(self, line: str) -> None:
        """What cannot wait is done at once; the rest is queued."""
        try:
            command = json.loads(line)
            name, job = str(command["command"]), str(command.get("id", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.emit("warning", id="", message=f"not a command: {line.strip():.200}")
            return
        if name == "cancel":
            if job in self._open:  # a finished job's id may be used again
                self._cancelled.add(job)
        elif name == "ping":
            self.emit("pong")
        elif name == "shutdown":
            self._ended.set()
        elif name == "predict" and job:
            self._open.add(job)
            self._jobs.put(command)
        else:
            self.emit("warning", id=job, message=f"unknown command {name!r}")

    def _do(self, command: Mapping[str, Any]) -> None:
        job = str(command["id"])
        try:
            self._predict(job, command)
        except Cancelled:
            self.emit("cancelled", id=job)
        except Exception as error:  # noqa: BLE001 - a bug goes to the viewer whole
            mendable = as_user_error(error)
            if mendable is not None:
                self.emit("error", id=job, kind="user", message=str(mendable))
            else:
                message = f"{type(error).__name__}: {error}"
                trace = traceback.format_exc()
                self.emit("error", id=job, kind="bug", message=message, traceback=trace)
        finally:
            self._open.discard(job)
            self._cancelled.discard(job)

    def _stopped(self, job: str) -> bool:
        return self._ended.is_set() or job in self._cancelled

    def _predict(self, job: str, command: Mapping[str, Any]) -> None:
        if self._stopped(job):
            raise Cancelled
        self.emit("started", id=job)
        options = _options(command)
        volume = open_volume(_text(command, "image"))
        model = self._load(_text(command, "model"))
        folder = Path(_text(command, "output"))
        labels, errors = folder / LABELS, folder / ERROR_MAP
        clock = TimeLeft()
        shown = False

        def report(step: Progress) -> None:
            nonlocal shown
            if step.stage == "predicting" and not shown:
                shown = True
                self.emit("stores", id=job, labels=str(labels), error_map=str(errors))
            if "box" in step.details:
                self.emit("block", id=job, box=step.details["box"])
            left = clock.update(step.done, step.total) if shown else None
            self.emit(
                "progress",
                id=job,
                done=step.done,
                total=step.total,
                stage=step.stage,
                seconds_left=left,
            )

        result = run(
            predict_job(volume, model, folder, options),
            report,
            cancelled=lambda: self._stopped(job),
        )
        self.emit(
            "result",
            id=job,
            labels=str(labels),
            error_map=str(errors),
            seconds=round(result.seconds, 3),
            voxels={str(value): n for value, n in result.voxels.items()},
            device=result.device,
            precision=result.precision,
        )

    def _load(self, name: str) -> Model:
        """The model, kept in memory until another one is asked for."""
        path = find_model(name)
        key = (path, path.stat().st_mtime_ns)
        if self._model is None or self._model[0] != key:
            self._model = (key, load_model(path))
        return self._model[1]


def _options(command: Mapping[str, Any]) -> PredictionOptions:
    try:
        return PredictionOptions(
            device=str(command.get("device", "auto")),
            precision=str(command.get("precision", "auto")),
            overlap=float(command.get("overlap", 0.5)),
            mirror=command.get("mirror", False) is True,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(
            found=f"an overlap of {command.get('overlap')!r}",
            needed="a number from 0 to below 1",
            do="correct the command",
        ) from error


def _text(command: Mapping[str, Any], key: str) -> str:
    value = command.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(
            found=f"a predict command without {key!r}",
            needed="image, model and output, each a text",
            do="correct the program that sent it",
        )
    return value


def main() -> None:
    """Serve standard input until it ends."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # Whatever a library prints must not end up between the events.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(OSError, AttributeError):  # no niceness on Windows
        os.nice(NICENESS)
    worker = Worker(events)
    threading.Thread(
        target=worker.listen, args=(sys.stdin.buffer,), daemon=True
    ).start()
    worker.work()


if __name__ == "__main__":
    main()
