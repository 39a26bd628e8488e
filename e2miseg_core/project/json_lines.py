"""Logs that only grow: one JSON object a line, each with a checksum.

A line is `{...,"crc":N}`: N is the CRC-32 of the line's bytes before `,"crc":`. A line
that a crash cut short is dropped; a damaged one hides no other.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import writing_to

__all__ = [
    "append_line",
    "decode_line",
    "encode_line",
    "is_sound",
    "read_lines",
    "write_whole",
]

_CRC = b',"crc":'


def encode_line(values: Mapping[str, Any]) -> bytes:
    """Make a line, its newline included."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    body = text[:-1].encode()
    return b"%s%s%d}\n" % (body, _CRC, zlib.crc32(body))


def is_sound(line: bytes) -> bool:
    """Whether a line, with or without its newline, has the checksum that it states."""
    body, found, stated = line.rstrip(b"\r\n").rpartition(_CRC)
    return bool(found) and stated == b"%d}" % zlib.crc32(body)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """Read a line; None if it is damaged."""
    if not is_sound(line):
        return None
    values: dict[str, Any] = json.loads(line)
    del values["crc"]
    return values


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the sound lines of a log; none if there is no log yet.

    Raises
    ------
    ReadError
        If the file cannot be read.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise ReadError(
            found=f"{path} cannot be read ({error.strerror or error})",
            needed="a readable file",
            do="mend the rights to it",
        ) from error
    lines = map(decode_line, content.splitlines())
    return [values for values in lines if values is not None]


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Add a line; when this returns it is on the disk.

    Raises
    ------
    WriteError
        If the system refuses; the log then reads as before.
    """
    line = encode_line(values)
    with writing_to(path), path.open("ab", buffering=0) as file:
        end = file.tell()
        # What a crash cut short stays apart from what comes now.
        line = line if _ends_whole(path, end) else b"\n" + line
        try:
            write_whole(file, line)
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, end)
            raise


def write_whole(file: IO[bytes], content: bytes) -> None:
    """Write to an unbuffered file, which may take less than it is given."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def _ends_whole(path: Path, size: int) -> bool:
    if size == 0:
        return True
    with path.open("rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"
