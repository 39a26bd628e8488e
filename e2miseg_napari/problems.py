"""Errors as one readable line; what is a bug keeps its traceback."""

import logging
import traceback
from dataclasses import dataclass

from e2miseg_core.errors import E2MISegError
from e2miseg_napari.protocol import JobFailed

__all__ = ["Problem", "problem_of", "problem_of_job"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong: one line, and the details of a bug."""

    line: str
    details: str = ""


def problem_of(error: BaseException) -> Problem:
    """Tell an error: as it is if the user can mend it, as a bug otherwise."""
    if isinstance(error, E2MISegError):
        return Problem(line=str(error))
    if isinstance(error, OSError):
        what = error.strerror or " ".join(str(error).split()) or "no reason given"
        where = f" ({error.filename})" if error.filename else ""
        return Problem(
            line=f"the system says: {what}{where}; needed: room and the right to write "
            "there; free some space, or choose another folder"
        )
    if isinstance(error, MemoryError):
        return Problem(
            line="memory has run out; needed: more of it; close other programs or "
            "layers, then try again"
        )
    _log.error("unexpected error", exc_info=error)
    details = "".join(traceback.format_exception(error))
    line = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason'}"
    return Problem(line=_bug(line), details=details)


def problem_of_job(event: JobFailed) -> Problem:
    """Tell a failure that the worker has reported."""
    if event.kind == "user":
        return Problem(line=event.message, details=event.traceback)
    return Problem(line=_bug(event.message), details=event.traceback or "none")


def _bug(line: str) -> str:
    return f"This is a bug in E2MISeg: {line}. Please report it with the details."
