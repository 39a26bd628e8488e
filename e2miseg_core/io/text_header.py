"""Headers made of lines of text, as NRRD and MetaImage have them."""

import math
from collections.abc import Callable
from pathlib import Path

from e2miseg_core.errors import ReadError

__all__ = [
    "bad_header",
    "parse_ints",
    "parse_numbers",
    "read_start",
]

_MOST_BYTES = 4 << 20  # a header that lists a file a slice needs less
_FIRST_BYTES = 16 << 10  # most headers need less
_LARGEST = 1 << 48  # voxels along an axis, bytes to skip: more is a lie


def read_start(
    path: Path, kind: str, is_enough: Callable[[bytes], bool] | None = None
) -> bytes:
    """Read as much of a file as its header takes, or may take.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        Of the file, for messages.
    is_enough : callable, optional
        Whether a header ends in these bytes; without it all that one may take is read.

    Raises
    ------
    ReadError
        If it cannot be read, or is empty.
    """
    try:
        with path.open("rb") as file:
            start = b"" if is_enough is None else file.read(_FIRST_BYTES)
            if is_enough is None or not is_enough(start):
                start += file.read(_MOST_BYTES - len(start))
    except OSError as error:
        raise ReadError(
            found=f"{path} cannot be read ({error.strerror or error})",
            needed=f"a {kind} file",
            do="check the path and your rights to read it",
        ) from error
    if not start:
        raise bad_header(path, f"{path} is empty", f"a {kind} file")
    return start


def bad_header(path: Path, found: str, needed: str) -> ReadError:
    """Make the error for a header that cannot be believed.

    Parameters
    ----------
    path : Path
        Of the header; put before `found` where that does not name it.
    """
    named = found if str(path) in found else f"{path} {found}"
    return ReadError(found=named, needed=needed, do="correct or export the file again")


def parse_ints(path: Path, field: str, text: str) -> list[int]:
    """Parse whole numbers between blanks.

    Raises
    ------
    ReadError
        If one is not a whole number, or beyond all use.
    """
    try:
        values = [int(word) for word in text.split() if len(word) < 32]
    except ValueError:
        values = []
    if len(values) != len(text.split()) or any(abs(v) > _LARGEST for v in values):
        raise bad_header(path, f"has the {field} {text!r:.80}", "whole numbers")
    return values


def parse_numbers(path: Path, field: str, text: str) -> list[float]:
    """Parse numbers between blanks or commas; NaN is let through, infinity is not.

    Raises
    ------
    ReadError
        If one is not a number.
    """
    words = text.replace(",", " ").split()
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise bad_header(path, f"has the {field} {text!r:.80}", "numbers") from error
    if any(math.isinf(value) for value in values):
        raise bad_header(path, f"has the {field} {text!r:.80}", "finite numbers")
    return values
