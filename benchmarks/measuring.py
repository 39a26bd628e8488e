"""What several benchmarks measure of a process: memory, bytes read, the machine."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import psutil

__all__ = [
    "OwnMemory",
    "bytes_read",
    "in_child",
    "machine",
    "mapped_bytes",
    "own_bytes",
]


def machine() -> str:
    """Name what the figures were measured on."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} CPUs, {memory:.0f} GiB, Python "
        f"{platform.python_version()}, load before the run {load:.1f}"
    )


def bytes_read() -> int:
    """Bytes that this process asked of files so far; memory maps do not count."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar"):
            return int(line.split()[1])
    return 0


class OwnMemory:
    """Most memory of its own that this process holds in a block, beyond the start.

    Pages of mapped files do not count: the system takes them back when it likes.
    """

    def __init__(self) -> None:
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._start = own_bytes()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.most = max(self.most, own_bytes() - self._start)


def own_bytes() -> int:
    """Memory of its own that this process holds now."""
    return _status("RssAnon")


def mapped_bytes() -> int:
    """Bytes of mapped files, programs included, that it has looked at and holds."""
    return _status("RssFile")


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def in_child(module: str, *arguments: object, **environment: str) -> dict[str, Any]:
    """Run `python -m module arguments`; its last line is the JSON that it found."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return {
            "failed": f"exit {done.returncode} after {time.monotonic() - start:.1f} s"
        }
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
