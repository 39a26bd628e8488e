"""The uncertain edges of a case in the order in which they are looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

from e2miseg_core.boxes import Box
from e2miseg_core.project import Edge, EdgeList, Verdict

__all__ = ["Entry", "ReviewQueue", "Tally", "boxes_as_edges"]

_DONE: tuple[Verdict, ...] = ("corrected", "fine")
_TURNS: Mapping[Verdict | None, int] = {None: 0, "skipped": 1}  # the others after them


@dataclass(frozen=True, slots=True)
class Entry:
    """An edge and what was decided about it."""

    edge: Edge
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How far the review has come.

    `share` is the part of the case's expected errors that lay in edges which were
    corrected or found fine, 0 to 1; None where it is not known.
    """

    edges: int = 0
    corrected: int = 0
    fine: int = 0
    skipped: int = 0
    share: float | None = None

    @property
    def done(self) -> int:
        """Edges that a human vouches for by now."""
        return self.corrected + self.fine

    @property
    def undecided(self) -> int:
        """Edges without a verdict."""
        return self.edges - self.done - self.skipped


class ReviewQueue:
    """Edges of one prediction with their verdicts, and the one on show.

    Parameters
    ----------
    found : EdgeList, optional
        As ranked now.
    verdicts : mapping of Box to str
        Given before, on this prediction.
    earlier : sequence of Entry
        From before a new ranking, which leaves out what is known by now: those that
        are done and not in `found` stay at the end of the list.
    """

    def __init__(
        self,
        found: EdgeList | None = None,
        verdicts: Mapping[Box, Verdict] | None = None,
        earlier: Sequence[Entry] = (),
    ) -> None:
        kept_verdicts = {one.edge.box: one.verdict for one in earlier if one.verdict}
        known = kept_verdicts | dict(verdicts or {})
        edges = () if found is None else found.edges
        boxes = {edge.box for edge in edges}
        kept = [
            one for one in earlier if one.verdict in _DONE and one.edge.box not in boxes
        ]
        self._given = dict(known)
        self._entries = [Entry(edge, known.get(edge.box)) for edge in edges]
        for number, one in enumerate(kept, start=len(edges) + 1):
            self._entries.append(Entry(replace(one.edge, number=number), one.verdict))
        # A new ranking expects errors only where nothing is known.
        self._total = 0.0 if found is None else found.total_expected
        self._total += sum(one.edge.expected_wrong for one in kept)
        self.note = "" if found is None else found.note
        self._current: int | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All edges, best first."""
        return tuple(self._entries)

    @property
    def current(self) -> Entry | None:
        """The edge on show."""
        return None if self._current is None else self._entries[self._current]

    def choose(self, number: int) -> Entry | None:
        """Make an edge the current one; None if there is none of that number."""
        for index, one in enumerate(self._entries):
            if one.edge.number == number:
                self._current = index
                return one
        return None

    def choose_box(self, box: Box) -> Entry | None:
        """Make the edge of a box the current one, if it is still there."""
        for one in self._entries:
            if one.edge.box == box:
                return self.choose(one.edge.number)
        return None

    def decide(self, verdict: Verdict) -> None:
        """Give the current edge a verdict; a later one replaces it."""
        if self._current is not None:
            one = self._entries[self._current]
            self._entries[self._current] = Entry(one.edge, verdict)
            self._given.pop(one.edge.box, None)  # the newest stands last
            self._given[one.edge.box] = verdict

    def take_back(self, box: Box, verdict: Verdict, before: Verdict | None) -> None:
        """Give a box the verdict of before, unless it has got another one since."""
        if self._given.get(box) != verdict:
            return
        del self._given[box]
        if before is not None:
            self._given[box] = before
        self._entries = [
            Entry(one.edge, before) if one.edge.box == box else one
            for one in self._entries
        ]

    def check(self, holds: Callable[[Box], bool]) -> list[Entry]:
        """Let verdicts stand only where the labels are still vouched for.

        Undoing takes voxels back, and redoing returns them: the verdict goes with
        them. Returns the entries that this has changed, as they are now, in the
        order in which their verdicts were given.
        """
        changed = []
        for index, one in enumerate(self._entries):
            given = self._given.get(one.edge.box)
            stands = given not in _DONE or holds(one.edge.box)
            now = self._entries[index] = Entry(one.edge, given if stands else None)
            if now != one:
                changed.append(now)
        order = list(self._given)
        return sorted(changed, key=lambda one: order.index(one.edge.box))

    def after(self, step: int) -> Entry | None:
        """Find the next undecided edge (`step` 1), or the one before (-1).

        It goes round at the ends. Once none is undecided it goes over those that were
        skipped, and once none of them is left over all.
        """
        count = len(self._entries)
        if not count:
            return None
        start = self._current
        if start is None:
            start = -1 if step > 0 else 0
        round_trip = [
            self._entries[(start + step * far) % count] for far in range(1, count + 1)
        ]
        return min(round_trip, key=lambda one: _TURNS.get(one.verdict, len(_TURNS)))

    def tally(self) -> Tally:
        """Count verdicts."""
        counts = {
            verdict: sum(one.verdict == verdict for one in self._entries)
            for verdict in ("corrected", "fine", "skipped")
        }
        return Tally(edges=len(self._entries), share=self._share(), **counts)

    def _share(self) -> float | None:
        dealt = sum(
            one.edge.expected_wrong for one in self._entries if one.verdict in _DONE
        )
        if isnan(dealt) or self._total <= 0:
            return None
        return min(1.0, dealt / self._total)


def boxes_as_edges(verdicts: Mapping[Box, Verdict]) -> list[Entry]:
    """Entries for boxes of which only the verdict is known, as after reopening."""
    return [Entry(_unmeasured(box), verdict) for box, verdict in verdicts.items()]


def _unmeasured(box: Box) -> Edge:
    z, y, x = ((low + high) // 2 for low, high in box)
    return Edge(
        number=0,
        box=box,
        centre=(z, y, x),
        expected_wrong=nan,
        gain=nan,
        classes=(),
    )
