"""One line of the journal: an edit, with all that undoing or repeating it needs."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import box_shape, make_box
from e2miseg_core.project.changes import Change
from e2miseg_core.project.json_lines import encode_line

__all__ = ["Entry", "Kind", "decode_entry", "encode_entry"]

Kind: TypeAlias = Literal["paint", "accept", "truth", "undo", "redo", "abort"]
_FAST = 1  # level of zlib: masks and labels shrink well whatever the effort


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """An edit.

    Attributes
    ----------
    seq : int
        From 1, without gaps.
    time : str
        ISO 8601, UTC.
    kind : str
        What was done.
    stroke : int
        `seq` of the first entry of the stroke that this belongs to, undoes or redoes.
    name : str
        Of the stroke, for people.
    after, before : Change
        What the voxels became, and what they were; on the same mask.
    more : bool
        Whether the next entry belongs to the same undo or redo.
    """

    seq: int
    time: str
    kind: Kind
    stroke: int
    name: str
    before: Change
    after: Change
    more: bool = False


def encode_entry(entry: Entry) -> bytes:
    """Make the line of an entry. What tells strokes apart comes first."""
    change = entry.after
    values: dict[str, Any] = {
        "seq": entry.seq,
        "time": entry.time,
        "kind": entry.kind,
        "stroke": entry.stroke,
        "name": entry.name,
        "more": entry.more,
        "origin": [low for low, _ in change.box],
        "shape": box_shape(change.box),
        "dtype": change.labels.dtype.name,
        "mask": 1 if change.mask.all() else _packed(np.packbits(change.mask)),
        "old": _short(entry.before.labels),
        "new": _short(change.labels),
        "old_authority": _short(entry.before.authority),
        "new_authority": _short(change.authority),
    }
    return encode_line(values)


def decode_entry(values: Mapping[str, Any]) -> Entry:
    """Read what `encode_entry` wrote, decoded as JSON."""
    box = make_box(values["origin"], values["shape"])
    mask = _mask(values["mask"], tuple(values["shape"]))
    count, dtype = int(mask.sum()), np.dtype(values["dtype"])
    changes = [
        Change(
            box=box,
            mask=mask,
            labels=_long(values[when], count, dtype),
            authority=_long(values[f"{when}_authority"], count, np.dtype(np.uint8)),
        )
        for when in ("old", "new")
    ]
    return Entry(
        seq=values["seq"],
        time=values["time"],
        kind=values["kind"],
        stroke=values["stroke"],
        name=values["name"],
        more=values["more"],
        before=changes[0],
        after=changes[1],
    )


def _short(values: NDArray[Any]) -> int | str:
    first = int(values[0])
    if (values == first).all():
        return first
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return _packed(little)


def _long(stored: int | str, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if isinstance(stored, int):
        return np.full(count, stored, dtype)
    content = zlib.decompress(base64.b64decode(stored))
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype)


def _mask(stored: int | str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if isinstance(stored, int):
        return np.ones(shape, bool)
    bits = np.frombuffer(zlib.decompress(base64.b64decode(stored)), np.uint8)
    count = int(np.prod(shape, dtype=np.int64))
    return np.unpackbits(bits, count=count).reshape(shape).astype(bool)


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), _FAST)).decode()
