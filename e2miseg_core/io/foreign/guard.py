"""Reading in a child process, where what a library does to itself ends nothing else.

Damaged files abort some libraries, make them hang or ask for all memory. The child is a
new interpreter: it is asked by JSON, answers by JSON and by files in a folder, and has
limits on its time and memory. Where the system keeps no limit on memory (macOS,
Windows), its resident memory is looked at twenty times a second instead, so that it may
pass the limit for that long; everywhere its time is kept from outside.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from e2miseg_core import errors
from e2miseg_core.errors import E2MISegError, ReadError

__all__ = ["run_guarded"]

_REQUEST = "guard-request.json"
_ANSWER = "guard-answer.json"
_LOOK_SECONDS = 0.05
_OWN_BYTES = 512 << 20  # libraries, before any voxel
_ANSWER_BYTES = 16 << 20  # more is no header
# One thread each: stacks and arenas count as memory, and the program has its own work.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def run_guarded(
    function: str,
    request: Mapping[str, Any],
    folder: Path,
    *,
    place: str,
    memory: int,
    seconds: float,
) -> dict[str, Any]:
    """Call a function in a child process and wait for its answer.

    Parameters
    ----------
    function : str
        ``module:function``, called with `request` and `folder`; returns a mapping of
        JSON values.
    request : mapping
        Of JSON values.
    folder : Path
        Exists and is new; the child puts its files there.
    place : str
        File that is read, for messages.
    memory : int
        Bytes that the child may use above 512 MiB for libraries.
    seconds : float
        Longest time.

    Returns
    -------
    dict
        What the function returned.

    Raises
    ------
    ReadError
        In one line, if the function raised anything, or its process died, took too
        long or wanted too much memory.
    """
    limit = memory + _OWN_BYTES
    asked = {"function": function, "request": dict(request), "memory": limit}
    asked["seconds"] = seconds
    (folder / _REQUEST).write_text(json.dumps(asked), encoding="utf-8")
    child = _start(folder)
    try:
        ending = _watch(child, limit, seconds)
    finally:
        child.kill()
        child.wait()
        (folder / _REQUEST).unlink()
    if ending:
        raise _failure(place, ending)
    return _answer(folder, place, child.returncode)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    # Libraries write their own complaints; ours says what happened.
    return subprocess.Popen(
        # -P: no module is taken from the folder that the user works in.
        [sys.executable, "-P", "-m", __name__, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **dict.fromkeys(_THREADS, "1")},
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _watch(child: subprocess.Popen[bytes], limit: int, seconds: float) -> str:
    """Wait for the end; say why the child had to be ended, "" if it ended by itself."""
    end = time.monotonic() + seconds
    watched = psutil.Process(child.pid)
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_LOOK_SECONDS)
            return ""
        with contextlib.suppress(psutil.Error):
            if watched.memory_info().rss > limit:
                return f"needs more than {limit >> 20} MiB of memory to be read"
        if time.monotonic() > end:
            return f"was not read within {seconds:g} s"


def _answer(folder: Path, place: str, code: int) -> dict[str, Any]:
    path = folder / _ANSWER
    try:
        if path.stat().st_size > _ANSWER_BYTES:
            raise _failure(place, f"has a header of {path.stat().st_size >> 20} MiB")
        answer = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
    except ReadError:
        raise
    except (OSError, ValueError):  # it died before or while it answered
        raise _failure(place, _cause(code)) from None
    if "error" in answer:
        kind = getattr(errors, answer["error"].pop("kind"))
        raise kind(**answer["error"])
    if "failure" in answer:
        raise _failure(place, answer["failure"])
    result: dict[str, Any] = answer["result"]
    return result


def _cause(code: int) -> str:
    """Put the exit code of a child that gave no answer into words."""
    if code >= 0:
        return f"ended the process that read it (code {code})"
    number = -code
    if number == getattr(signal, "SIGXCPU", None):
        return "took too long to be read"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"ended the process that read it ({name})"


def _failure(place: str, what: str) -> ReadError:
    return ReadError(
        found=f"{place} {what}",
        needed="a whole file of a format that can be read",
        do="copy the file again, or convert it with the program that made it",
    )


def _serve(folder: Path) -> None:
    """Be the child: do what the request says, and leave an answer."""
    asked = json.loads((folder / _REQUEST).read_text(encoding="utf-8"))
    _set_limits(asked["memory"], asked["seconds"])
    module, _, name = asked["function"].partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    try:
        answer = {"result": function(asked["request"], folder)}
        text = json.dumps(answer)
    except E2MISegError as error:
        said = {"found": error.found, "needed": error.needed, "do": error.do}
        text = json.dumps({"error": {"kind": type(error).__name__, **said}})
    except MemoryError:
        text = json.dumps({"failure": "needs more memory to be read than there is"})
    except Exception as error:  # noqa: BLE001 - libraries raise anything on bad files
        text = json.dumps({"failure": f"cannot be read ({_told(error)})"})
    part = folder / f"{_ANSWER}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(folder / _ANSWER)


def _told(error: Exception) -> str:
    """Say in one short line what a library raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # SimpleITK tells its own source file first, what is wrong last.
    told = lines[-1] if lines else ""
    return f"{type(error).__name__}: {told:.200}" if told else type(error).__name__


def _set_limits(memory: int, seconds: float) -> None:
    """Limit this process, as far as the system can."""
    if sys.platform == "win32":
        return
    import resource

    limits = [
        (resource.RLIMIT_CORE, 0),  # no memory image of a crash on the disk
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CPU, int(seconds) + 5),  # should the parent be gone
    ]
    for kind, value in limits:
        hard = resource.getrlimit(kind)[1]
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS refuses some
            resource.setrlimit(kind, (lower, hard))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
