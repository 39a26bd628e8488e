"""Where people have said what is right, and which of it is kept for the test."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, clip_box, make_box
from e2miseg_core.errors import ConfigError
from e2miseg_core.progress import Job, Progress

__all__ = ["PAINTED", "Site", "SiteSplit", "overlap", "painted_boxes", "split_sites"]

PAINTED = "painted"  # verdict of a place that was painted without a review
HELD_OUT = 0.25  # share of the sites that is kept for the test
FEWEST_HELD_OUT = 2
FEWEST_SITES = 6
BLOCK = 64  # voxels along an edge, read at once
CELL = 16  # edge of a painted site along the finest axis, voxels
FEWEST_PAINTED = 20  # voxels that make a cell a site
MOST_PAINTED = 200  # sites of a case that were painted without a review


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A box of a case whose labels a person has corrected or found right.

    Attributes
    ----------
    case : str
    box : Box
        On the volume's grid.
    verdict : str
        "corrected", "fine", or "painted" where no review was asked for.
    """

    case: str
    box: Box
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSplit:
    """Sites to learn from and sites to be tested on."""

    training: tuple[Site, ...]
    held_out: tuple[Site, ...]


class Readable(Protocol):
    """An array (Z, Y, X) that is read piece by piece, such as a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels, ZYX."""
        ...

    def __getitem__(self, key: Any) -> Any:
        """Read a piece."""
        ...


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share a voxel."""
    return all(
        max(lo, other_lo) < min(hi, other_hi)
        for (lo, hi), (other_lo, other_hi) in zip(a, b, strict=True)
    )


def split_sites(sites: Sequence[Site]) -> SiteSplit:
    """Hold out about a quarter of the sites, at least two.

    Parameters
    ----------
    sites : sequence of Site

    Returns
    -------
    SiteSplit

    Raises
    ------
    ConfigError
        If there are fewer than 6 sites.

    Notes
    -----
    A site that was trained on once is not held out later, however many are added and
    in whatever order: a hash of its place decides. Of sites that overlap, the earlier
    one decides for the later one, if it is one to learn from.
    """
    if len(sites) < FEWEST_SITES:
        raise ConfigError(
            found=f"{len(sites)} corrected or accepted places",
            needed=f"at least {FEWEST_SITES}, {FEWEST_HELD_OUT} of which test the "
            "new model",
            do=f"correct or accept {FEWEST_SITES - len(sites)} more",
        )
    training: list[Site] = []
    held_out: list[Site] = []
    for site in sites:
        tested = _chance(site) < HELD_OUT
        if tested and any(_touching(site, other) for other in training):
            tested = False
        (held_out if tested else training).append(site)
    while len(held_out) < FEWEST_HELD_OUT:
        moved = min(training, key=_chance)
        training.remove(moved)
        held_out.append(moved)
    if not training:  # the likeliest of all to be learnt from
        training.append(held_out.pop(held_out.index(max(held_out, key=_chance))))
    return SiteSplit(training=tuple(training), held_out=tuple(held_out))


def painted_boxes(
    authority: Readable,
    human: int,
    spacing: Sequence[float],
    reviewed: Sequence[Box],
) -> Job[list[Box]]:
    """Boxes that hold what was painted outside the reviewed boxes.

    The volume is divided into cells of about a cube in mm; a cell with at least 20
    painted voxels is a box. It is read block by block.

    Parameters
    ----------
    authority : array of int, shape (Z, Y, X)
    human : int
        Its value where a person drew.
    spacing : sequence of 3 float
        ZYX.
    reviewed : sequence of Box
        Voxels in them do not count.
    """
    shape = (authority.shape[0], authority.shape[1], authority.shape[2])
    cell = _cell(spacing)
    found: list[tuple[int, Box]] = []
    for start in range(0, shape[0], BLOCK):
        yield Progress(done=start, total=shape[0], stage="looking for corrections")
        for y, x in itertools.product(*(range(0, n, BLOCK) for n in shape[1:])):
            block = clip_box(make_box((start, y, x), (BLOCK,) * 3), shape)
            drawn = np.asarray(authority[box_slices(block)]) == human
            if drawn.any():
                hide_boxes(drawn, block, reviewed)
                found += _full_cells(drawn, block, cell)
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return sorted(box for _, box in found[:MOST_PAINTED])


def hide_boxes(mask: NDArray[np.bool_], place: Box, boxes: Sequence[Box]) -> None:
    """Clear what lies in any of `boxes`; `place` is the box that `mask` covers."""
    for box in boxes:
        if overlap(box, place):
            z, y, x = (
                slice(max(lo, first) - first, min(hi, stop) - first)
                for (lo, hi), (first, stop) in zip(box, place, strict=True)
            )
            mask[z, y, x] = False


def _touching(a: Site, b: Site) -> bool:
    return a.case == b.case and overlap(a.box, b.box)


def _chance(site: Site) -> float:
    """A number in [0, 1) that depends on the site's place alone."""
    digest = hashlib.sha256(f"{site.case} {site.box}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def _cell(spacing: Sequence[float]) -> tuple[int, int, int]:
    """Edges in voxels, powers of two that divide a block."""
    finest = min(spacing)
    z, y, x = (
        int(2 ** np.clip(np.rint(np.log2(CELL * finest / s)), 2, np.log2(CELL)))
        for s in spacing
    )
    return z, y, x


def _full_cells(
    drawn: NDArray[np.bool_], block: Box, cell: tuple[int, int, int]
) -> list[tuple[int, Box]]:
    found = []
    starts = (range(0, n, c) for n, c in zip(drawn.shape, cell, strict=True))
    for corner in itertools.product(*starts):
        inside = make_box(corner, cell)
        count = int(drawn[box_slices(inside)].sum())
        if count >= FEWEST_PAINTED:
            first = [c + lo for c, (lo, _) in zip(corner, block, strict=True)]
            stop = [hi for _, hi in block]
            z, y, x = (
                (f, min(f + c, s)) for f, c, s in zip(first, cell, stop, strict=True)
            )
            found.append((count, (z, y, x)))
    return found
