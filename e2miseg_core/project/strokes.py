"""Which strokes can be undone and redone. Only their places in the journal are kept."""

from dataclasses import dataclass

__all__ = ["OpenStroke", "Stroke", "Strokes"]


@dataclass(slots=True)
class OpenStroke:
    """A stroke under way.

    Attributes
    ----------
    name : str
        For people.
    number : int or None
        Sequence number of its first entry, once there is one.
    """

    name: str
    number: int | None = None


@dataclass(slots=True)
class Stroke:
    """Entries of the journal that are one step of undo.

    Attributes
    ----------
    number : int
        Sequence number of its first entry.
    name : str
        For people.
    last : int
        Sequence number of its last entry.
    """

    number: int
    name: str
    last: int


class Strokes:
    """The strokes done, and those undone, each with the latest last."""

    def __init__(self) -> None:
        self.done: list[Stroke] = []
        self.undone: list[Stroke] = []

    def record(self, kind: str, number: int, name: str, seq: int) -> None:
        """Take note of an entry of the journal, in the order of the journal."""
        done, undone = self.done, self.undone
        on_top = bool(done) and done[-1].number == number
        if kind == "undo":
            if on_top:
                undone.append(done.pop())
        elif kind == "abort":
            if on_top:
                done.pop()
        elif kind == "redo":
            if undone and undone[-1].number == number:
                done.append(undone.pop())
        elif on_top:
            done[-1].last = seq
        else:
            done.append(Stroke(number=number, name=name, last=seq))
            undone.clear()
