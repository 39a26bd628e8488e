"""Logs that only grow: one JSON object a line, each with a checksum.

A line is `{...,"crc":N}`: N is the CRC-32 of the line's bytes before `,"crc":`. A line
that a crash cut short is dropped; a damaged one hides no other.
"""

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from e2miseg_core.errors import ReadError
from e2miseg_core.io.atomic import writing_to

__all__ = [
    "append_line",
    "count_damaged",
    "decode_line",
    "encode_line",
    "is_sound",
    "read_lines",
    "sound_parts",
    "write_whole",
]

_CRC = b',"crc":'
_END = re.compile(_CRC + rb"\d+\}")  # no text of a line holds this: quotes are escaped


def encode_line(values: Mapping[str, Any]) -> bytes:
    """Make a line, its newline included."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    body = text[:-1].encode()
    return b"%s%s%d}\n" % (body, _CRC, zlib.crc32(body))


def is_sound(line: bytes) -> bool:
    """Whether a line, with or without its newline, has the checksum that it states."""
    body, found, stated = line.rstrip(b"\r\n").rpartition(_CRC)
    return bool(found) and stated == b"%d}" % zlib.crc32(body)


def sound_parts(line: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield a sound line, or the sound ones in a damaged line, and where they begin.

    There are some where it was the newline between two lines that was damaged.
    """
    if is_sound(line):
        yield 0, line
        return
    start = 0
    for found in _END.finditer(line):
        part = line[start : found.end()]
        if is_sound(part):
            yield start, part
        start = found.end() + 1


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
    parts = (part for line in _lines(path) for _, part in sound_parts(line))
    return [values for part in parts if (values := decode_line(part)) is not None]


def count_damaged(path: Path) -> int:
    """Count lines that cannot be read, less one that a crash cut short at the end.

    Raises
    ------
    ReadError
        If the file cannot be read.
    """
    whole = (line for line in _lines(path) if line.endswith(b"\n"))
    return sum(bool(line.strip()) and not is_sound(line) for line in whole)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as error:
        raise ReadError(
            found=f"{path} cannot be read ({error.strerror or error})",
            needed="a readable file",
            do="mend the rights to it",
        ) from error


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
