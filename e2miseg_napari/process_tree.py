"""Ending a process together with everything that it has started."""

import contextlib
import time
from collections.abc import Iterable

import psutil

__all__ = ["be_nice", "kill_tree", "tree"]


def tree(root: psutil.Process) -> list[psutil.Process]:
    """Process `root` and all its descendants, as far as they can still be seen."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return [root]


def kill_tree(members: Iterable[psutil.Process], *, wait: float = 0.0) -> None:
    """Kill processes at once.

    psutil remembers each process's start, so a number that the system has given to
    another process meanwhile is left alone.

    Parameters
    ----------
    members : iterable of psutil.Process
        From `tree`.
    wait : float
        Longest wait for them to end, in seconds.
    """
    killed = []
    for process in members:
        try:
            process.kill()
        except psutil.Error:
            continue
        killed.append(process)
    deadline = time.monotonic() + wait
    # Not psutil.wait_procs: it would collect the exit status that QProcess waits for.
    while any(map(_runs, killed)) and time.monotonic() < deadline:
        time.sleep(0.005)


def be_nice(process: psutil.Process) -> None:
    """Let the viewer go first on Windows; elsewhere the worker steps back itself."""
    if psutil.WINDOWS:
        with contextlib.suppress(psutil.Error):
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
