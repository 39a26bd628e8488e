"""Where to look first: boxes that hold the most expected error, one after the other.

Greedy coverage: take the box of the largest sum, count its voxels no more, repeat. The
map is read block by block, so that its size does not matter.
"""

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    box_of_mask,
    box_shape,
    clip_box,
    common_box,
    grow_box,
    make_box,
    slices_within,
)
from e2miseg_core.progress import Job, Progress

__all__ = [
    "UNITS",
    "ErrorBlocks",
    "Region",
    "box_size",
    "propose_regions",
    "to_units",
]

UNITS = 65535  # whole numbers, so that sums are exact in whatever order they are taken
LIMIT = 30  # regions of a case
SHARE = 0.01  # of the case's expected errors, that a region must hold
ENOUGH = 5  # wrong voxels: a region that holds as many is always worth a look
SUMS_KEPT = 32  # blocks whose sums are remembered: 1 MB each

Triple = tuple[int, int, int]


class ErrorBlocks(Protocol):
    """A map of expected errors in `UNITS`, cut into blocks that tile the volume."""

    @property
    def shape(self) -> Triple:
        """Voxels of the volume."""
        ...

    @property
    def block_shape(self) -> Triple:
        """Voxels of a block; those at the far ends may be smaller."""
        ...

    @property
    def occupied(self) -> Collection[Triple]:
        """Numbers, along Z, Y, X, of the blocks that are not 0 throughout."""
        ...

    def block(self, index: Triple) -> NDArray[np.uint16]:
        """Read a block."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A box to look at.

    Attributes
    ----------
    centre : tuple of int
    box : Box
        Cut to the volume.
    units : int
        Expected errors in it that no earlier region holds, in 1 / `UNITS` voxels.
    """

    centre: Triple
    box: Box
    units: int


def to_units(error: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Chances from 0 to 1 in whole `UNITS`."""
    units: NDArray[np.uint16] = np.rint(error * np.float32(UNITS)).astype(np.uint16)
    return units


def box_size(spacing: Sequence[float], edge: int) -> Triple:
    """Voxels of a box that is about a cube in the world.

    Parameters
    ----------
    spacing : sequence of 3 float
        ZYX.
    edge : int
        Voxels along the axis of the finest spacing, odd.

    Returns
    -------
    tuple of 3 int
        Odd, and at least 3.
    """
    finest = min(spacing)
    z, y, x = (max(3, 2 * round((edge * finest / s - 1) / 2) + 1) for s in spacing)
    return z, y, x


def propose_regions(
    blocks: ErrorBlocks,
    size: Triple,
    total: int,
    *,
    limit: int = LIMIT,
    share: float = SHARE,
) -> Job[list[Region]]:
    """Greedy coverage boxes, the largest sum first.

    Parameters
    ----------
    blocks : ErrorBlocks
    size : tuple of 3 int
        Voxels of a box, odd; see `box_size`.
    total : int
        Expected errors of the case, in `UNITS`.
    limit : int
        Regions at most.
    share : float
        Stop at the first box that holds less than this share of `total`, and fewer
        than 5 wrong voxels: in a large volume, or under a model that is unsure of
        everything, no box may hold the share.

    Returns
    -------
    list of Region

    Notes
    -----
    Of boxes of the same sum the one is taken that holds more of it near its centre,
    then the first in the order of voxels.
    """
    search = _GreedySearch(blocks, size)
    places = search.places()
    for number, index in enumerate(places, start=1):
        search.look_at(index)
        yield Progress(done=number, total=len(places), stage="finding uncertain edges")
    found: list[Region] = []
    least = min(share * total, ENOUGH * UNITS)
    while len(found) < limit:
        region = search.take()
        if region is None or region.units < least:
            break
        found.append(region)
        yield Progress(done=len(found), total=limit, stage="finding uncertain edges")
    return found


class _GreedySearch:
    """Block maxima on a heap; after each box only what lies near it changes.

    Sums can only fall, so a maximum that was not brought up to date is an upper bound:
    it is renewed when it comes to the top.
    """

    def __init__(self, blocks: ErrorBlocks, size: Triple) -> None:
        self._blocks = blocks
        self._occupied = frozenset(blocks.occupied)  # which may take time to find out
        self._size = size
        self._half = tuple(n // 2 for n in size)
        self._inner = tuple(n // 2 for n in self._half)
        fits = math.prod(size) * UNITS <= np.iinfo(np.int32).max
        self._dtype = np.dtype(np.int32 if fits else np.int64)
        self._sums: OrderedDict[Triple, tuple[Box, NDArray[Any]]] = OrderedDict()
        # -sum, -sum near the centre, centre, block
        self._heap: list[tuple[int, int, Triple, Triple]] = []
        self._changed: dict[Triple, list[Box]] = {}  # since a block was looked at
        self._taken: list[Box] = []

    def places(self) -> list[Triple]:
        """Blocks in which a centre may have anything in its box."""
        found: set[Triple] = set()
        for index in self._occupied:
            found.update(
                self._block_numbers(grow_box(self._block_box(index), self._half))
            )
        return sorted(found)

    def look_at(self, index: Triple) -> None:
        """Put the best centre of a block on the heap."""
        block = self._block_box(index)
        window = grow_box(block, self._half)
        errors = self._errors(window)
        held = box_of_mask(errors, window)
        if held is None:
            return
        centres = common_box(grow_box(held, self._half), block)
        within = slices_within(grow_box(centres, self._half), window)
        self._sums[index] = centres, _window_sums(errors[within], self._half)
        self._push(index)
        if len(self._sums) > SUMS_KEPT:
            self._sums.popitem(last=False)

    def take(self) -> Region | None:
        """Take the best box; None where nothing is left."""
        while self._heap:
            best = heapq.heappop(self._heap)
            units, centre, index = -best[0], best[2], best[3]
            changed = self._changed.pop(index, None)
            if changed is None:
                heapq.heappush(self._heap, best)
                return self._taken_at(centre, units)
            self._renew(index, changed)
        return None

    def _taken_at(self, centre: Triple, units: int) -> Region:
        corner = [c - h for c, h in zip(centre, self._half, strict=True)]
        whole = make_box(corner, self._size)
        changed = clip_box(grow_box(whole, self._half), self._blocks.shape)
        for index in self._block_numbers(changed):
            self._changed.setdefault(index, []).append(changed)
        box = clip_box(whole, self._blocks.shape)
        self._taken.append(box)
        return Region(centre=centre, box=box, units=units)

    def _renew(self, index: Triple, changed: Sequence[Box]) -> None:
        """Bring a block up to date where it changed, and push its best centre."""
        if index not in self._sums:
            self.look_at(index)
            return
        centres, sums = self._sums[index]
        for box in changed:
            part = common_box(box, centres)
            if all(lo < hi for lo, hi in part):
                errors = self._errors(grow_box(part, self._half))
                sums[slices_within(part, centres)] = _window_sums(errors, self._half)
        self._push(index)

    def _push(self, index: Triple) -> None:
        centres, sums = self._sums[index]
        most = int(sums.max())
        if not most:
            return
        equal = sums == most
        places = np.argwhere(equal)
        low, high = places.min(axis=0), places.max(axis=0) + 1
        corner = [lo + int(n) for (lo, _), n in zip(centres, low, strict=True)]
        among = make_box(corner, [int(n) for n in high - low])
        errors = self._errors(grow_box(among, self._inner))
        near = _window_sums(errors, self._inner)
        near[~equal[slices_within(among, centres)]] = -1
        place = np.unravel_index(int(near.argmax()), near.shape)
        z, y, x = (lo + int(n) for (lo, _), n in zip(among, place, strict=True))
        heapq.heappush(self._heap, (-most, -int(near.max()), (z, y, x), index))

    def _errors(self, window: Box) -> NDArray[Any]:
        """The map in a window, 0 beyond the volume and in boxes taken already."""
        found = np.zeros(box_shape(window), self._dtype)
        for index in self._block_numbers(clip_box(window, self._blocks.shape)):
            if index not in self._occupied:
                continue
            block = self._block_box(index)
            common = common_box(window, block)
            source = slices_within(common, block)
            found[slices_within(common, window)] = self._blocks.block(index)[source]
        for box in self._taken:
            common = common_box(window, box)
            if all(lo < hi for lo, hi in common):
                found[slices_within(common, window)] = 0
        return found

    def _block_box(self, index: Triple) -> Box:
        size = self._blocks.block_shape
        corner = [i * n for i, n in zip(index, size, strict=True)]
        return clip_box(make_box(corner, size), self._blocks.shape)

    def _block_numbers(self, box: Box) -> Iterator[Triple]:
        """Numbers of the blocks that a box touches."""
        inside = clip_box(box, self._blocks.shape)
        z, y, x = (
            range(lo // n, -(-hi // n))
            for (lo, hi), n in zip(inside, self._blocks.block_shape, strict=True)
        )
        return itertools.product(z, y, x)


def _window_sums(values: NDArray[Any], half: Sequence[int]) -> NDArray[Any]:
    """Sums of (2 half + 1) voxels along each axis, where they lie inside.

    Of the type of the values: totals along an axis may wrap round, which their
    differences undo as long as the sums themselves fit.
    """
    for axis, n in enumerate(half):
        width = 2 * n + 1
        total = np.cumsum(np.moveaxis(values, axis, 0), axis=0, dtype=values.dtype)
        sums = total[width - 1 :].copy()
        sums[1:] -= total[:-width]
        values = np.moveaxis(sums, 0, axis)
    return np.ascontiguousarray(values)
