"""Damage of every kind to a file or folder; the same for the same random numbers."""

import gzip
import json
import re
import shutil
import struct
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator
Damage = Callable[[bytes, Rng], bytes]

_HEADER = 600  # bytes that hold what matters in most formats
_WHOLE = (0, 1, -1, 2, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1)
_LARGE = (*_WHOLE, 2**40, 2**62, 2**63 - 1, -(2**63))
_REAL = (0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 1e-320, 1e300, -1e38, 1e12)
_TOKENS = (
    *("0", "-1", "1", "2147483647", "-2147483648", "4294967296", "9" * 30, "1e400"),
    *("nan", "inf", "-inf", "1e-320", "x", "", "[]", "(1,2,3)", "\x00", "é", "../../x"),
)
_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def flip_bits(content: bytes, rng: Rng) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        changed[_at(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def extreme_number(content: bytes, rng: Rng) -> bytes:
    order = "<>"[rng.integers(2)]
    kind = "bBhHiIqQfd"[rng.integers(10)]
    if kind in "fd":
        value = float(rng.choice(_REAL))
        packed = struct.pack(order + "d", value)
        if kind == "f":
            with np.errstate(over="ignore"):
                packed = np.float32(value).astype(f"{order}f4").tobytes()
    else:
        width = struct.calcsize(order + kind)
        value = _LARGE[rng.integers(len(_LARGE))] % (1 << (8 * width))
        packed = value.to_bytes(width, "little" if order == "<" else "big")
    at = _at(content, rng)
    if rng.random() < 0.7:
        at -= at % len(packed)
    return content[:at] + packed + content[at + len(packed) :]


def truncate(content: bytes, rng: Rng) -> bytes:
    return content[
        : rng.integers(len(content)) if rng.random() < 0.5 else _at(content, rng)
    ]


def swap_parts(content: bytes, rng: Rng) -> bytes:
    size = int(rng.integers(1, 17))
    a, b = sorted((_at(content, rng), _at(content, rng)))
    if b - a < size:
        return flip_bits(content, rng)
    first, second = content[a : a + size], content[b : b + size]
    return content[:a] + second + content[a + size : b] + first + content[b + size :]


def delete_part(content: bytes, rng: Rng) -> bytes:
    at = _at(content, rng)
    return content[:at] + content[at + int(rng.integers(1, 33)) :]


def insert_part(content: bytes, rng: Rng) -> bytes:
    at = _at(content, rng)
    return content[:at] + rng.bytes(int(rng.integers(1, 33))) + content[at:]


def change_token(content: bytes, rng: Rng) -> bytes:
    """Replace a number that is written as text, such as in the header of an NRRD."""
    found = list(_NUMBER.finditer(content[: 4 * _HEADER]))
    if not found:
        return extreme_number(content, rng)
    hit = found[rng.integers(len(found))]
    token = _TOKENS[rng.integers(len(_TOKENS))].encode()
    return content[: hit.start()] + token + content[hit.end() :]


def change_lines(content: bytes, rng: Rng) -> bytes:
    lines = content[: 4 * _HEADER].split(b"\n")
    at = int(rng.integers(len(lines)))
    match rng.integers(3):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case _:
            other = int(rng.integers(len(lines)))
            lines[at], lines[other] = lines[other], lines[at]
    return b"\n".join(lines) + content[4 * _HEADER :]


def empty(content: bytes, rng: Rng) -> bytes:
    return b"" if rng.random() < 0.5 else bytes(len(content))


_DAMAGES: tuple[tuple[Damage, float], ...] = (
    (flip_bits, 4),
    (extreme_number, 6),
    (truncate, 3),
    (swap_parts, 1),
    (delete_part, 1),
    (insert_part, 1),
    (change_token, 4),
    (change_lines, 2),
    (empty, 0.2),
)


def damage_bytes(content: bytes, rng: Rng) -> bytes:
    """Damage a file once or twice; a gzip file mostly below its compression."""
    if content[:2] == b"\x1f\x8b" and rng.random() < 0.7:
        return gzip.compress(damage_bytes(gzip.decompress(content), rng), 1, mtime=0)
    weights = np.array([weight for _, weight in _DAMAGES])
    for _ in range(1 + int(rng.random() < 0.3)):
        damage = _DAMAGES[rng.choice(len(_DAMAGES), p=weights / weights.sum())][0]
        content = damage(content, rng) if content else content
    return content


def damage_json(content: bytes, rng: Rng) -> bytes:
    """Change, remove or add one value, wherever it is."""
    root = json.loads(content)
    places = list(_places(root))
    if not places or rng.random() < 0.05:
        return json.dumps(_value(rng)).encode()
    holder, key = places[rng.integers(len(places))]
    match rng.integers(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 1:
            holder[f"{key}2"] = holder[key]
        case _:
            holder[key] = _value(rng)
    return json.dumps(root).encode()


def _places(node: Any) -> list[tuple[Any, Any]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, value in inner:
        found.append((node, key))
        if isinstance(value, dict | list):
            found += _places(value)
    return found


def _value(rng: Rng) -> Any:
    choices: Sequence[Any] = (
        *_LARGE,
        *_REAL,
        *_TOKENS,
        None,
        True,
        [],
        {},
        [[]],
        [1] * 9,
        {"name": 1},
        [0, 0, 0],
        [-1, -1, -1],
        [1e300] * 3,
        [2**31 - 1] * 3,
        [2**62] * 3,
    )
    return choices[rng.integers(len(choices))]


def damage_tags(path: Path, rng: Rng) -> bool:
    """Change one element of a DICOM file; False if that could not be written."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        elements = [*dataset, *dataset.file_meta]
        element = elements[rng.integers(len(elements))]
        holder = dataset.file_meta if element.tag.group == 2 else dataset
        if rng.random() < 0.3:
            del holder[element.tag]
        else:
            value = _value(rng)
            if isinstance(value, dict | list):
                value = [str(part)[:16] for part in value]
            text = value if isinstance(value, list) else str(value)
            kind = element.VR
            if kind in ("US", "UL", "SS", "SL"):
                limits = {"US": (0, 2**16 - 1), "UL": (0, 2**32 - 1)}
                low, high = limits.get(kind, (-(2**15), 2**15 - 1))
                text = int(rng.choice([low, high, 1, 2]))
            elif kind in ("OB", "OW"):
                text = rng.bytes(int(rng.integers(0, 64)) * 2)
            try:
                element.value = text
            except (ValueError, TypeError, OverflowError):
                del holder[element.tag]
        try:
            dataset.save_as(path)
        except Exception:  # noqa: BLE001 - pydicom refuses to write some nonsense
            return False
    return True


def damage(path: Path, rng: Rng) -> None:
    """Damage an image: a file, one of the files beside it, or one of a folder's."""
    inside = path.rglob("*") if path.is_dir() else path.parent.iterdir()
    files = sorted(file for file in inside if file.is_file())
    target = path
    if path.is_dir() or rng.random() < 0.5:
        target = files[rng.integers(len(files))]
    is_json = target.suffix == ".json" or target.name in (
        ".zarray",
        ".zattrs",
        ".zgroup",
    )
    if path.is_dir() and rng.random() < 0.05:
        target.unlink()
    elif path.is_dir() and target.suffix == ".dcm" and rng.random() < 0.05:
        shutil.copy(target, target.with_name("copy.dcm"))
    elif is_json and rng.random() < 0.8:
        target.write_bytes(damage_json(target.read_bytes(), rng))
    elif target.suffix == ".dcm" and rng.random() < 0.5 and damage_tags(target, rng):
        return
    else:
        target.write_bytes(damage_bytes(target.read_bytes(), rng))


def _at(content: bytes, rng: Rng) -> int:
    """Mostly a place in the header."""
    end = min(len(content), _HEADER) if rng.random() < 0.8 else len(content)
    return int(rng.integers(max(1, end)))
