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
    _log.error("unexpected error", exc_info=error)
    details = "".join(traceback.format_exception(error))
    line = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason'}"
    return Problem(line=f"a bug in E2MISeg ({line})", details=details)


def problem_of_job(event: JobFailed) -> Problem:
    """Tell a failure that the worker has reported."""
    if event.kind == "user":
        return Problem(line=event.message, details=event.traceback)
    return Problem(
        line=f"a bug in E2MISeg ({event.message})", details=event.traceback or "none"
    )
