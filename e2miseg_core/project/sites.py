"""Where people have said what is right: places to learn from, or to be tested on.

The one rule for it, for a fine-tuning and for the viewer that counts before.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from e2miseg_core.boxes import (
    Box,
    box_from_json,
    box_slices,
    clip_box,
    hide_boxes,
    make_box,
    overlap,
)
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project.authority import HUMAN
from e2miseg_core.project.cases import Case
from e2miseg_core.project.project import Project

__all__ = [
    "FEWEST_SITES",
    "PAINTED",
    "CaseSites",
    "Site",
    "SiteFinder",
    "find_sites",
]

FEWEST_SITES = 6  # a fine-tuning refuses to learn from fewer
PAINTED = "painted"  # verdict of a place that was painted without a review
CELL = 16  # edge of a painted site along the finest axis, voxels
FEWEST_PAINTED = 20  # voxels that make a cell a site
MOST_PAINTED = 200  # sites of a case that were painted without a review
STAGE = "looking for corrections"
Triple = tuple[int, int, int]


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
        return cls(
            case=str(values["case"]),
            box=box_from_json(values["box"]),
            verdict=str(values["verdict"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSites:
    """What people have said about one case.

    Attributes
    ----------
    case : str
        Its name.
    sites : tuple of Site
        Reviewed boxes first, then what was painted elsewhere.
    drawn : int
        Voxels that a person drew, anywhere.
    """

    case: str
    sites: tuple[Site, ...]
    drawn: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk as it was read last: which file, which boxes, and what was found."""

    key: tuple[object, ...]
    drawn: int
    cells: tuple[tuple[int, Box], ...]  # with the drawn voxels in each


class SiteFinder:
    """Finds sites, and remembers each chunk until its file changes.

    A reviewed box is a site if a person vouches for all its voxels: a verdict that was
    taken back by undoing is none. Elsewhere the volume is divided into cells of about
    a cube in mm; a cell with at least 20 painted voxels is a site, in a case at most
    the 200 with the most. What is not in the stores yet is not seen.
    """

    def __init__(self) -> None:
        self._chunks: dict[Path, _Chunk] = {}

    def find(self, project: Project) -> Job[tuple[CaseSites, ...]]:
        """Look through all cases of a project.

        Raises
        ------
        ReadError
            If the project is damaged.
        """
        found = []
        for name in project.cases:
            found.append((yield from self._find_in(project.case(name))))
        return tuple(found)

    def _find_in(self, case: Case) -> Job[CaseSites]:
        yield Progress(done=0, total=0, stage=STAGE)
        array = zarr.open_array(str(case.authority_path / "0"), mode="r")
        sites = list(_vouched_for(case, array))
        reviewed = [site.box for site in sites]
        chunks: list[_Chunk] = []
        paths = _chunk_files(case.authority_path / "0")
        for number, path in enumerate(paths, start=1):
            chunks += self._look(path, array, case.geometry.spacing, reviewed)
            yield Progress(done=number, total=len(paths), stage=STAGE)
        cells = [cell for chunk in chunks for cell in chunk.cells]
        cells.sort(key=lambda cell: (-cell[0], cell[1]))
        for box in sorted(box for _, box in cells[:MOST_PAINTED]):
            sites.append(Site(case=case.name, box=box, verdict=PAINTED))
        drawn = sum(chunk.drawn for chunk in chunks)
        return CaseSites(case=case.name, sites=tuple(sites), drawn=drawn)

    def _look(
        self,
        path: Path,
        array: "zarr.Array[Any]",
        spacing: Sequence[float],
        reviewed: Sequence[Box],
    ) -> Iterator[_Chunk]:
        """What a chunk holds; nothing if it was emptied meanwhile."""
        at = [int(part) for part in path.relative_to(path.parents[2]).parts]
        corner = [n * size for n, size in zip(at, array.chunks, strict=True)]
        place = clip_box(make_box(corner, array.chunks), array.shape)
        inside = tuple(box for box in reviewed if overlap(box, place))
        try:
            stamp = path.stat()
        except FileNotFoundError:
            return
        key = (stamp.st_mtime_ns, stamp.st_size, inside)
        known = self._chunks.get(path)
        if known is None or known.key != key:
            drawn = np.asarray(array[box_slices(place)]) == HUMAN
            total = int(drawn.sum())
            hide_boxes(drawn, place, inside)
            cells = tuple(_full_cells(drawn, place, cell_size(spacing)))
            known = self._chunks[path] = _Chunk(key, total, cells)
        yield known


def find_sites(project: Project) -> Job[list[Site]]:
    """All sites of a project, case by case; see `SiteFinder`."""
    cases = yield from SiteFinder().find(project)
    return [site for case in cases for site in case.sites]


def cell_size(spacing: Sequence[float]) -> Triple:
    """Edges of a cell in voxels: powers of two, so that chunks hold whole cells."""
    finest = min(spacing)
    z, y, x = (
        int(2 ** np.clip(np.rint(np.log2(CELL * finest / s)), 2, np.log2(CELL)))
        for s in spacing
    )
    return z, y, x


def _vouched_for(case: Case, authority: "zarr.Array[Any]") -> Iterator[Site]:
    for box, verdict in case.review().sites():
        inside = clip_box(box, authority.shape)
        known = np.asarray(authority[box_slices(inside)]) > 0
        if known.size and known.all():
            yield Site(case=case.name, box=inside, verdict=verdict)


def _chunk_files(array: Path) -> list[Path]:
    """Only chunks with a file: elsewhere nobody has said anything."""
    # One that is just being written has a name of its own, which is no number.
    return sorted(p for p in (array / "c").glob("*/*/*") if p.name.isdigit())


def _full_cells(
    drawn: NDArray[np.bool_], place: Box, cell: Triple
) -> Iterator[tuple[int, Box]]:
    if not drawn.any():
        return
    starts = (range(0, n, c) for n, c in zip(drawn.shape, cell, strict=True))
    for corner in itertools.product(*starts):
        inside = clip_box(make_box(corner, cell), drawn.shape)
        count = int(drawn[box_slices(inside)].sum())
        if count >= FEWEST_PAINTED:
            z, y, x = (
                (lo + first, hi + first)
                for (lo, hi), (first, _) in zip(inside, place, strict=True)
            )
            yield count, (z, y, x)
