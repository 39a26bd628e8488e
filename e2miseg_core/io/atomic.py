"""Files that are there whole or not at all, and survive a crash of the machine."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from e2miseg_core.errors import WriteError

__all__ = ["replacing", "sync_folder", "write_json", "writing_to"]

_DO = "free space or mend the rights, then try again"


@contextmanager
def replacing(path: Path, *, do: str = _DO) -> Iterator[Path]:
    """Let a partial file be written beside `path`, then put it there in one step.

    Parameters
    ----------
    path : Path
        Replaced only if the block ends without an exception.
    do : str
        What the user can do where the system refuses.

    Yields
    ------
    Path
        A hidden name in the same folder, of the same suffix, to be written.

    Raises
    ------
    WriteError
        If the system refuses; what stood at `path` is then as it was.
    """
    partial = path.with_name(f".{secrets.token_hex(4)}.partial.{path.name}")
    try:
        with writing_to(path, do=do):
            yield partial
            with partial.open("rb+") as file:  # Windows syncs no file open for reading
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # gone already where all went well
            partial.unlink(missing_ok=True)


@contextmanager
def writing_to(path: Path, *, do: str = _DO) -> Iterator[None]:
    """Tell in one line, as WriteError, what the system has against writing `path`."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(
            found=f"{path} cannot be written ({error.strerror or error})",
            needed="a folder with room and the right to write",
            do=do,
        ) from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON values; a reader sees the old file or the new one, never a part."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power, where that can be asked."""
    with suppress(OSError):  # Windows opens no folders; some servers refuse
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
