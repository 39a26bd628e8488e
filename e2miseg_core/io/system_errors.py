"""What the system has against reading, told apart from damage to a file.

A disk that fails for a moment, or too many open files, say nothing about the file: who
reads it again may well succeed.
"""

import errno

from e2miseg_core.errors import ReadError

__all__ = ["system_error"]

# Also raised for places that only a damaged file can name.
_OF_THE_FILE = {errno.EINVAL, errno.EOVERFLOW}


def system_error(place: object, error: BaseException) -> ReadError | None:
    """Tell in one line what the system said; None if the file may be to blame.

    Parameters
    ----------
    place : Path or str
        Of the file, for the message.
    error : BaseException
        What was raised while it was read.
    """
    if not isinstance(error, OSError) or error.errno is None:
        return None
    if isinstance(error, ReadError) or error.errno in _OF_THE_FILE:
        return None
    if error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "close some images, or raise the limit (ulimit -n)"
    else:
        advice = "check the disk, the path and your rights to read it, and try again"
    return ReadError(
        found=f"{place} cannot be read ({error.strerror or error})",
        needed="a file that the system can read",
        do=advice,
    )
