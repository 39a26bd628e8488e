"""The command line: one command a module, the same functions as the plugin.

This module imports next to nothing: what takes a second is loaded where Ctrl-C is
already answered in words.
"""

import json
import signal
import sys
from types import FrameType

__all__ = ["main", "run_command"]

CANCELLED = 130


def main() -> None:
    """Run a command; exit 0 done, 130 cancelled, 2 mendable by the user, 1 a bug."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run the command line `arguments` and return the exit code."""
    try:
        from e2miseg_core.cli.commands import run

        return run(arguments)
    except KeyboardInterrupt:  # while modules were loaded, before any work began
        message = "cancelled; nothing was begun"
        if "--json" in arguments:
            print(json.dumps({"event": "error", "message": message}), flush=True)
        print(f"error: {message}", file=sys.stderr)
        return CANCELLED


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
