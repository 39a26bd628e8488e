"""Chunks of a volume: which a box touches, where they lie, and how they are kept."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, clip_box, make_box

__all__ = ["Index", "chunk_box", "chunks_of", "compact", "rows_of"]

# Of a chunk, along Z, Y, X.
Index: TypeAlias = tuple[int, int, int]

_LARGEST_READ = 256  # chunks in one call of zarr, which decodes them side by side


def chunk_box(index: Index, size: Sequence[int], shape: Sequence[int]) -> Box:
    """Voxels of a chunk; `size` is that of whole chunks, `shape` the volume's."""
    start = [at * step for at, step in zip(index, size, strict=True)]
    return clip_box(make_box(start, size), shape)


def chunks_of(box: Box, size: Sequence[int]) -> Iterator[Index]:
    """Chunks of a size that a box touches."""
    z, y, x = (
        range(low // step, -(-high // step)) if high > low else range(0)
        for (low, high), step in zip(box, size, strict=True)
    )
    yield from itertools.product(z, y, x)


def rows_of(indices: Iterable[Index]) -> Iterator[list[Index]]:
    """Split chunks into full rows, so that none is read that is not missing."""
    row: list[Index] = []
    for index in sorted(indices):
        adjoins = row and index == (*row[-1][:2], row[-1][2] + 1)
        if row and (not adjoins or len(row) == _LARGEST_READ):
            yield row
            row = []
        row.append(index)
    if row:
        yield row


def compact(chunk: NDArray[Any]) -> NDArray[Any]:
    """Keep a chunk of one value as one value, another as an array of its own."""
    first = chunk.flat[0]
    if (chunk == first).all():
        return np.broadcast_to(np.asarray(first), chunk.shape)
    return chunk if chunk.base is None and chunk.flags.writeable else chunk.copy()
