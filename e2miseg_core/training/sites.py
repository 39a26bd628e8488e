"""Where people have said what is right, and which of it is kept for the test."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
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

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Site":
        """Read what `dataclasses.asdict` and JSON made of one."""
        z, y, x = ((int(lo), int(hi)) for lo, hi in values["box"])
        return cls(
            case=str(values["case"]), box=(z, y, x), verdict=str(values["verdict"])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSplit:
    """Sites to learn from and sites to be tested on."""

    training: tuple[Site, ...]
    held_out: tuple[Site, ...]


NOTHING_EARLIER = SiteSplit(training=(), held_out=())


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


def split_sites(
    sites: Sequence[Site], earlier: SiteSplit = NOTHING_EARLIER
) -> SiteSplit:
    """Hold out a quarter of the sites, at least two.

    Parameters
    ----------
    sites : sequence of Site
    earlier : SiteSplit, optional
        What the model in use was made of: where it learnt it is not tested, and where
        it was tested it does not learn.

    Returns
    -------
    SiteSplit
        The same for the same sites, in whatever order.

    Raises
    ------
    ConfigError
        If there are fewer than 6 sites.
    """
    if len(sites) < FEWEST_SITES:
        raise ConfigError(
            found=f"{len(sites)} corrected or accepted places",
            needed=f"at least {FEWEST_SITES}, {FEWEST_HELD_OUT} of which test the "
            "new model",
            do=f"correct or accept {FEWEST_SITES - len(sites)} more",
        )
    order = sorted(sites, key=_chance)
    training = [s for s in order if _touches(s, earlier.training)]
    rest = [s for s in order if s not in training]
    held_out = [s for s in rest if _touches(s, earlier.held_out)]
    rest = [s for s in rest if s not in held_out]
    wanted = max(FEWEST_HELD_OUT, round(HELD_OUT * len(sites)))
    while len(held_out) < wanted and rest:
        held_out.append(rest.pop(0))
    training += rest
    while len(held_out) < FEWEST_HELD_OUT:  # nothing is new: take what there is
        held_out.append(training.pop())
    while not training:
        training.append(held_out.pop())
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


def _touches(site: Site, others: Sequence[Site]) -> bool:
    return any(site.case == o.case and overlap(site.box, o.box) for o in others)


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
