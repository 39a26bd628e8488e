"""The folder of a training run.

RUN/cases/               prepared cases
RUN/checkpoint.safetensors   state after the last epoch
RUN/model.safetensors    the result
RUN/unreported.safetensors   the same without figures, until the report is there
RUN/report.json, report.html   figures on the unseen cases, with pictures of the worst
RUN/.lock                held by the program that is at work there
RUN/history.csv, curves.svg, pictures/, tensorboard/, log.txt   see `logs`
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from e2miseg_core.errors import WriteError
from e2miseg_core.training.logs import HISTORY, clear_logs

__all__ = [
    "CASES",
    "CHECKPOINT",
    "MODEL",
    "UNREPORTED",
    "check_folder",
    "clear_folder",
    "has_epoch",
    "holds_run",
    "working_in",
]

CASES = "cases"
MODEL = "model.safetensors"
UNREPORTED = "unreported.safetensors"
CHECKPOINT = "checkpoint.safetensors"


def holds_run(folder: Path) -> bool:
    """Whether there is a run there that a new one would write over."""
    return any((folder / name).exists() for name in (CHECKPOINT, MODEL))


def has_epoch(folder: Path) -> bool:
    """Whether a run has an epoch there to go on after.

    A new run over a finished one leaves that one's model until it has its own, but not
    its history; a finished run without its checkpoint has lost what to go on from.
    """
    finished = (folder / MODEL).exists() and (folder / HISTORY).exists()
    return (folder / CHECKPOINT).exists() or finished


def check_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise WriteError where a run would write over another one; changes nothing."""
    if holds_run(folder) and not resume and not overwrite:
        with working_in(folder):  # a program at work is told before what would end it
            pass
        raise WriteError(
            found=f"a training run in {folder}",
            needed="an empty folder",
            do="add --resume to go on with it, or --overwrite to begin anew",
        )


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Keep other programs out of a run; the lock of one that died is none.

    WriteError where another one is at work.
    """
    # A job may be begun in one thread and closed in another.
    lock = FileLock(folder / ".lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise WriteError(
            found=f"a program that is training in {folder}",
            needed="one at a time",
            do="wait for it, or choose another folder",
        ) from error
    try:
        yield
    finally:
        lock.release()


def clear_folder(folder: Path) -> None:
    """Remove the state of an earlier run; its model stays until a new one is there."""
    for name in (CHECKPOINT, UNREPORTED):
        (folder / name).unlink(missing_ok=True)
    clear_logs(folder)
