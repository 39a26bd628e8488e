"""One worker process: its start, its lines, its end."""

import atexit
import logging
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence

import psutil
from qtpy.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal

from e2miseg_napari.process_tree import be_nice, kill_tree, tree
from e2miseg_napari.protocol import encode, parse_event

__all__ = ["WorkerProcess"]

_log = logging.getLogger(__name__)

_POLITE_MS = 2000  # for the worker to end by itself
_TERMINATE_MS = 1000  # and then to follow a request of the system
_LAST_WISH_S = 1.0  # wait for the killed to be gone when the application quits
_TAIL_LINES = 60
_LINE_LIMIT = 4 * 1024 * 1024  # bytes; what is longer is no message of ours

_running: set[psutil.Process] = set()


@atexit.register
def _kill_what_still_runs() -> None:
    for process in tuple(_running):
        kill_tree(tree(process), wait=_LAST_WISH_S)


class WorkerProcess(QObject):
    """A child process that speaks the worker's protocol.

    Nothing here waits: the process is started, written to and ended by signals.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    parent : QObject, optional
        Owner in Qt's sense.
    """

    received = Signal(object)  # an Event
    ended = Signal(str)  # the reason, in words

    def __init__(self, command: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._command = list(command)
        self._buffer = bytearray()
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._handle: psutil.Process | None = None
        self._over = False
        self._own_session = False
        self._process = QProcess(self)
        self._process.started.connect(self._on_started)
        self._process.readyReadStandardOutput.connect(self._on_output)
        self._process.readyReadStandardError.connect(self._on_errors)
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_trouble)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.timeout.connect(self._press_on)
        self._asked_to_end = False

    @property
    def pid(self) -> int | None:
        """Process number while it runs."""
        return None if self._handle is None else self._handle.pid

    @property
    def tail(self) -> str:
        """Last lines that the process wrote to its standard error."""
        return "\n".join(self._tail)

    def start(self) -> None:
        """Start the process; `received` and `ended` tell the rest."""
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONIOENCODING", "utf-8")
        self._process.setProcessEnvironment(environment)
        self._own_session = _ask_for_own_session(self._process)
        self._process.start(self._command[0], self._command[1:])

    def send(self, message: Mapping[str, object]) -> None:
        """Write one line to the process; it is buffered until it can be read."""
        self._process.write(encode(message))

    def stop(self) -> None:
        """End the process politely, then less politely."""
        if self._over:
            return
        self.send({"command": "shutdown"})
        self._process.closeWriteChannel()
        self._patience.start(_POLITE_MS)

    def kill(self, *, wait: float = 0.0) -> None:
        """End the process and its descendants now, waiting at most `wait` seconds."""
        if self._over:
            return
        self._process.closeWriteChannel()
        if self._handle is None:  # has not come up yet
            self._process.kill()
        else:
            kill_tree(tree(self._handle), wait=wait)
        if wait > 0:  # it is dead: this only lets Qt notice before its own end
            self._process.waitForFinished(round(1000 * wait))

    def _press_on(self) -> None:
        if self._asked_to_end:
            self.kill()
            return
        self._asked_to_end = True
        self._process.terminate()
        self._patience.start(_TERMINATE_MS)

    def _on_started(self) -> None:
        try:
            self._handle = psutil.Process(int(self._process.processId()))
        except (psutil.Error, ValueError):
            return  # it is gone already; `finished` follows
        _running.add(self._handle)
        be_nice(self._handle)

    def _on_output(self) -> None:
        self._buffer += bytes(self._process.readAllStandardOutput().data())
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if event := parse_event(line):
                self.received.emit(event)
            elif line.strip():
                _log.debug("not a message: %r", line[:200])
        if len(self._buffer) > _LINE_LIMIT:
            self._buffer.clear()

    def _on_errors(self) -> None:
        raw = bytes(self._process.readAllStandardError().data())
        text = raw.decode(errors="replace")
        self._tail.extend(text.splitlines())

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._on_output()
        self._on_errors()
        crashed = status == QProcess.ExitStatus.CrashExit
        self._end(f"it was ended by signal {code}" if crashed else f"exit code {code}")

    def _on_trouble(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._end(self._process.errorString())

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._patience.stop()
        if self._handle is not None:
            _running.discard(self._handle)
            if self._own_session:
                _kill_session(self._handle.pid)
        self._handle = None
        self.ended.emit(reason)


def _ask_for_own_session(process: QProcess) -> bool:
    """Keep Ctrl+C in the viewer's terminal away from the worker, where Qt can."""
    try:
        parameters = QProcess.UnixProcessParameters()
        parameters.flags = QProcess.UnixProcessFlag.CreateNewSession
        process.setUnixProcessParameters(parameters)
    except (AttributeError, TypeError):  # not on this system, or an older Qt
        return False
    return True


def _kill_session(pid: int) -> None:
    """End what a crashed worker has left behind."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (AttributeError, OSError):
        return
