"""The verdicts on uncertain edges."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from e2miseg_core.boxes import Box, box_from_json
from e2miseg_core.errors import ConfigError
from e2miseg_core.project.clock import now
from e2miseg_core.project.edges import Edge
from e2miseg_core.project.json_lines import append_line, count_damaged, read_lines

__all__ = ["VERDICTS", "ReviewLog", "Verdict"]

Verdict = Literal["corrected", "fine", "skipped"]
VERDICTS: tuple[Verdict, ...] = ("corrected", "fine", "skipped")


class ReviewLog:
    """Append-only log of what a human decided about edges.

    Parameters
    ----------
    path : Path
        Need not exist yet. Read anew at each question: other programs see verdicts
        as soon as they are given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, edge: Edge, verdict: Verdict, *, prediction: int) -> None:
        """Record a verdict; it is on the disk when this returns.

        Raises
        ------
        ConfigError
            If there is no such verdict.
        WriteError
            If it cannot be written.
        """
        if verdict not in VERDICTS:
            raise ConfigError(
                found=f"the verdict {verdict!r}",
                needed="one of " + ", ".join(VERDICTS),
                do="choose one of them",
            )
        line = {
            "time": now(),
            "prediction": prediction,
            "number": edge.number,
            "box": edge.box,
            "verdict": verdict,
        }
        append_line(self.path, line)

    def latest(self) -> dict[tuple[int, Box], Verdict]:
        """Return the latest verdict of each (prediction, box), the newest last."""
        verdicts: dict[tuple[int, Box], Verdict] = {}
        for key, verdict in self._all():
            verdicts.pop(key, None)
            verdicts[key] = verdict
        return verdicts

    def by_box(self) -> dict[Box, Verdict]:
        """Return the latest verdict of each box, over all predictions."""
        boxes: dict[Box, Verdict] = {}
        for (_, box), verdict in self.latest().items():
            boxes.pop(box, None)
            boxes[box] = verdict
        return boxes

    def sites(self) -> list[tuple[Box, Verdict]]:
        """Boxes whose labels a human vouches for: those not skipped, of `by_box`."""
        return [(box, v) for box, v in self.by_box().items() if v != "skipped"]

    def notes(self) -> tuple[str, ...]:
        """Tell in a line what of the log is damaged, if anything is."""
        damaged = count_damaged(self.path)
        if not damaged:
            return ()
        return (f"{damaged} damaged lines in {self.path}: review those edges again",)

    def _all(self) -> Iterator[tuple[tuple[int, Box], Verdict]]:
        for line in read_lines(self.path):
            verdict: Any = line.get("verdict")
            if verdict in VERDICTS:
                yield (int(line["prediction"]), box_from_json(line["box"])), verdict
