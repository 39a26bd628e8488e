"""The chain of directories in a TIFF file, walked before a library believes it.

A damaged link leads into pixels, which read as directories of thousands of senseless
entries; a library then spends minutes and gigabytes on a file of two kilobytes.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from e2miseg_core.errors import ReadError

__all__ = ["check_chain"]

# Bytes of a value, by the type of an entry.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}


def check_chain(path: Path) -> None:
    """Refuse a chain that goes in circles, or entries larger than the file.

    A chain that is cut off is left to the reader, which knows what is lost.

    Raises
    ------
    ReadError
        With the directory that is wrong.
    OSError
        If the system cannot read the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(2) == b"II" else ">"
        (version,) = struct.unpack(f"{order}H", file.read(2))
        is_big = version == 43
        count, entry, link = ("Q", "HHQQ", "Q") if is_big else ("H", "HHII", "I")
        file.seek(8 if is_big else 4)
        seen: set[int] = set()
        while (at := _number(file, order + link)) and at < size:
            file.seek(at)
            entries = _number(file, order + count)
            if at in seen or entries == 0:
                what = "is met twice" if at in seen else "is empty"
                raise _wrong(path, f"the directory at byte {at} {what}")
            seen.add(at)
            packed = struct.Struct(order + entry)
            content = file.read(min(entries, size) * packed.size)
            for start in range(0, len(content) - packed.size + 1, packed.size):
                tag, kind, values, _ = packed.unpack_from(content, start)
                if values * _SIZES.get(kind, 1) > size:
                    found = f"the entry {tag} announces {values} values"
                    raise _wrong(path, found)


def _number(file: BinaryIO, form: str) -> int:
    """Read one number; 0 at the end of the file."""
    size = struct.calcsize(form)
    content = file.read(size)
    return int(struct.unpack(form, content)[0]) if len(content) == size else 0


def _wrong(path: Path, found: str) -> ReadError:
    return ReadError(
        found=f"{path} is damaged: {found}",
        needed="a whole TIFF file",
        do="copy or export it again",
    )
