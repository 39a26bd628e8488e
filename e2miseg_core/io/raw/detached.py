"""Files of voxels that a header names: where they may lie, and what they are called.

A header may come from anybody, so what it names is looked for in its own folder and
the folders below; no URL is followed, and only regular files are opened. An absolute
path, which is often that of another machine, is taken for its last part.
"""

import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from e2miseg_core.errors import ReadError
from e2miseg_core.io.text_header import bad_header

__all__ = ["data_files", "is_pattern", "numbered_names"]

_MOST_FILES = 100_000
_PLACE = re.compile(r"%0?\d{0,2}d")


def data_files(header: Path, names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Find the files that a header names.

    Parameters
    ----------
    header : Path
        The file that names them.
    names : sequence of str
        As it names them.

    Returns
    -------
    list of Path
        Regular files.
    list of str
        A note, if a path was cut to its last part.

    Raises
    ------
    ReadError
        If a name is a URL, leads out of the header's folder, or is no file.
    """
    files: list[Path] = []
    notes: list[str] = []
    for name in names:
        relative, is_cut = _relative(header, name)
        path = header.parent / relative
        if not os.path.isfile(path):  # noqa: PTH113 - Path's raises for odd names
            raise ReadError(
                found=f"{header} names its voxels {name!r:.120}, and there is no file "
                f"{path}",
                needed="that file beside the header",
                do="put it there, or correct the header",
            )
        files.append(path)
        if is_cut and not notes:
            notes.append(
                f"voxels read from {relative} beside the header, which names another "
                "folder"
            )
    return files, notes


def _relative(header: Path, name: str) -> tuple[str, bool]:
    plain = name.replace("\\", "/")
    if "://" in plain or "\0" in plain or not plain.strip("/. "):
        raise bad_header(
            header, f"names its voxels {name!r:.120}", "a file beside the header"
        )
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        return re.split(r"[/:]", plain)[-1] or plain, True
    tidy = posixpath.normpath(plain)
    if tidy.startswith("../") or tidy in {"..", "."}:
        raise ReadError(
            found=f"{header} names its voxels {name!r:.120}, outside of its folder",
            needed="a file in the header's folder or below",
            do="put header and voxels into one folder, and name the file alone",
        )
    return tidy, False


def is_pattern(header: Path, name: str) -> bool:
    """Whether a name stands for numbered files; one with a % may just be so named."""
    beside = header.parent / name
    return "%" in name and not os.path.isfile(beside)  # noqa: PTH113 - as above


def numbered_names(header: Path, pattern: str, numbers: Sequence[int]) -> list[str]:
    """Make the names that a pattern such as ``slice%03d.raw 1 20 1`` stands for.

    Parameters
    ----------
    header : Path
        For messages.
    pattern : str
        With one place for a whole number.
    numbers : three int
        First, last and step.

    Raises
    ------
    ReadError
        If the pattern has no or another kind of place, or the numbers make no list.
    """
    places = _PLACE.findall(pattern)
    if len(places) != 1 or pattern.count("%") != 1:
        raise bad_header(
            header,
            f"names its voxels by the pattern {pattern!r:.80}",
            "one place for a whole number, such as %03d",
        )
    first, last, step = numbers
    count = (last - first) // step + 1 if step else 0
    if not 0 < count <= _MOST_FILES:
        raise bad_header(
            header,
            f"numbers its files from {first} to {last} by {step}",
            f"1 to {_MOST_FILES} files",
        )
    before, after = pattern.split(places[0])
    width = places[0][1:-1]
    zeros = width.startswith("0")
    size = int(width or 0)
    return [
        before + (str(n).zfill(size) if zeros else str(n).rjust(size)) + after
        for n in range(first, first + count * step, step)
    ]
