"""What people have corrected in a project: what a fine-tuning could learn from."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import zarr
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, clip_box, make_box
from e2miseg_core.project import HUMAN, Case, Project

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NEEDED", "CaseCorrections", "Corrections", "CorrectionsCounter"]

NEEDED = 6  # places; a fine-tuning refuses to learn from fewer

# A place that was painted without a review: a cell of about a cube in mm that holds
# enough drawn voxels. The engine, which has the last word, counts in the same way.
_CELL = 16  # voxels along the finest axis
_FEWEST_DRAWN = 20  # voxels


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCorrections:
    """What was corrected in one case.

    Attributes
    ----------
    name : str
        Of the case.
    corrected, fine : int
        Edges that were reviewed, by verdict.
    painted : int
        Places that were painted elsewhere.
    drawn : int
        Voxels that a human drew, anywhere.
    """

    name: str
    corrected: int = 0
    fine: int = 0
    painted: int = 0
    drawn: int = 0

    @property
    def places(self) -> int:
        """Places to learn from, or to be tested on."""
        return self.corrected + self.fine + self.painted


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """What was corrected in all cases of a project."""

    cases: tuple[CaseCorrections, ...] = ()

    @property
    def places(self) -> int:
        """Places in all cases."""
        return sum(case.places for case in self.cases)

    @property
    def drawn(self) -> int:
        """Voxels that a human drew, in all cases."""
        return sum(case.drawn for case in self.cases)

    @property
    def touched(self) -> tuple[CaseCorrections, ...]:
        """Cases in which there is anything."""
        return tuple(case for case in self.cases if case.places or case.drawn)

    @property
    def missing(self) -> int:
        """Places that are still needed before a fine-tuning can start."""
        return max(0, NEEDED - self.places)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A chunk as it was counted last: which file, which boxes, and what was found."""

    key: tuple[object, ...]
    drawn: int
    painted: int


class CorrectionsCounter:
    """Counts, and remembers the count of each chunk until its file changes.

    What is not in the stores yet is not counted: flush them first. Slow on large
    projects at first, so to be called in a thread.
    """

    def __init__(self) -> None:
        self._chunks: dict[Path, _Counted] = {}

    def count(self, project: Project) -> Corrections:
        """Count the corrections of a project's cases.

        Raises
        ------
        ReadError
            If the project is damaged.
        """
        cases = (self._count_case(project.case(name)) for name in project.cases)
        return Corrections(cases=tuple(cases))

    def _count_case(self, case: Case) -> CaseCorrections:
        sites = case.review().sites()
        reviewed = [box for box, _ in sites]
        verdicts = [verdict for _, verdict in sites]
        counted = list(self._count_chunks(case, reviewed))
        return CaseCorrections(
            name=case.name,
            corrected=verdicts.count("corrected"),
            fine=verdicts.count("fine"),
            painted=sum(chunk.painted for chunk in counted),
            drawn=sum(chunk.drawn for chunk in counted),
        )

    def _count_chunks(self, case: Case, reviewed: Sequence[Box]) -> Iterator[_Counted]:
        """Look only at chunks that have a file: elsewhere nobody has said anything."""
        array = zarr.open_array(str(case.authority_path / "0"), mode="r")
        chunk, cell = array.chunks, _cell(case.geometry.spacing)
        for path in (case.authority_path / "0" / "c").glob("*/*/*"):
            at = (int(part) for part in path.relative_to(path.parents[2]).parts)
            corner = [n * size for n, size in zip(at, chunk, strict=True)]
            place = clip_box(make_box(corner, chunk), array.shape)
            inside = tuple(box for box in reviewed if not _is_empty(_cut(box, place)))
            try:
                stamp = path.stat()
            except FileNotFoundError:  # emptied meanwhile
                continue
            key = (stamp.st_mtime_ns, stamp.st_size, inside)
            known = self._chunks.get(path)
            if known is None or known.key != key:
                drawn = np.asarray(array[box_slices(place)]) == HUMAN
                known = _count_drawn(drawn, place, inside, cell, key)
                self._chunks[path] = known
            yield known


def _count_drawn(
    drawn: NDArray[np.bool_],
    place: Box,
    reviewed: Sequence[Box],
    cell: tuple[int, int, int],
    key: tuple[object, ...],
) -> _Counted:
    total = int(drawn.sum())
    for box in reviewed:
        z, y, x = (
            slice(lo - first, hi - first)
            for (lo, hi), (first, _) in zip(_cut(box, place), place, strict=True)
        )
        drawn[z, y, x] = False
    starts = (range(0, n, c) for n, c in zip(drawn.shape, cell, strict=True))
    cells = (box_slices(make_box(start, cell)) for start in itertools.product(*starts))
    painted = sum(int(drawn[part].sum()) >= _FEWEST_DRAWN for part in cells)
    return _Counted(key, drawn=total, painted=painted if total else 0)


def _cut(box: Box, place: Box) -> Box:
    """The part of a box that lies in another one; empty sides where there is none."""
    z, y, x = (
        (min(max(lo, first), last), max(min(hi, last), first))
        for (lo, hi), (first, last) in zip(box, place, strict=True)
    )
    return z, y, x


def _is_empty(box: Box) -> bool:
    return any(hi <= lo for lo, hi in box)


def _cell(spacing: Sequence[float]) -> tuple[int, int, int]:
    """Edges of a cell in voxels: powers of two, so that chunks hold whole cells."""
    finest = min(spacing)
    z, y, x = (
        int(2 ** np.clip(np.rint(np.log2(_CELL * finest / step)), 2, np.log2(_CELL)))
        for step in spacing
    )
    return z, y, x
