"""Keys of parts that have no name: what keeps a part's address true.

A series of a DICOM folder is chosen by its number, which changes when files are added.
Its stored address ends in a key of what it is: ``folder#part=2@1f0c93ab``, or
``folder#part=@1f0c93ab`` where nothing had to be chosen. Where there is a key, it
counts, and the number only names the part to the reader.
"""

import hashlib
import re
from collections.abc import Iterable

__all__ = ["make_key", "same_part", "split_key", "with_key"]

_KEYED = re.compile(r"(.*)@([0-9a-f]{8})", re.DOTALL)


def make_key(words: Iterable[object]) -> str:
    """Return eight hexadecimal digits that stand for words, and do not tell them."""
    text = "\0".join(map(str, words))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def with_key(part: str, key: str) -> str:
    """Return a part with its key; one that it had is replaced."""
    return f"{split_key(part)[0]}@{key}"


def split_key(part: str) -> tuple[str, str]:
    """Return a part without its key, and the key, empty if there is none."""
    found = _KEYED.fullmatch(part)
    return (part, "") if found is None else (found[1], found[2])


def same_part(one: str, other: str) -> bool:
    """Whether two parts are the same, as far as can be told without opening them."""
    (name, key), (other_name, other_key) = split_key(one), split_key(other)
    if key and other_key:
        return key == other_key
    return name == other_name
