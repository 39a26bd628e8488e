"""Logs that were cut short or changed at any byte: one record is lost, no other."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.project import Case, Edge, ReviewLog
from e2miseg_core.project.journal import Journal

ROWS = 4


@pytest.fixture
def painted(make_case: Callable[..., Case], locked: None) -> Case:
    """A case of four strokes, as if its program had died before any chunk."""
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        for row in range(ROWS):
            store.levels[0][row, 2:5, 3:8] = row + 1
    for stored in (case.labels_path, case.authority_path):
        for chunks in stored.glob("*/c"):
            shutil.rmtree(chunks)
    lines = case.journal_path.read_bytes().splitlines(keepends=True)
    edits = [line for line in lines if b'"flushed"' not in line]
    case.journal_path.write_bytes(b"".join(edits))
    return case


def opened(path: Path) -> tuple[list[int], int]:
    """Entries that a journal still has, and how many of its lines are damaged."""
    journal = Journal(path, on_saved=lambda: None, on_failed=lambda _: None)
    try:
        numbers = range(1, journal.seq + 1)
        found = [entry.seq for entry in journal.entries(numbers) if entry is not None]
        assert [stroke.number for stroke in journal.strokes.done] == found
        return found, journal.damaged
    finally:
        journal.close()


def changed_bytes(whole: bytes) -> Iterator[tuple[int, bytes]]:
    """The content with one byte changed: in its lowest bit, and to a newline."""
    for at, byte in enumerate(whole):
        for other in {byte ^ 1, ord("\n"), ord("}")} - {byte}:
            yield at, whole[:at] + bytes([other]) + whole[at + 1 :]


def test_a_journal_cut_at_any_byte_of_its_last_line_has_all_others(
    painted: Case,
) -> None:
    whole = painted.journal_path.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    for end in range(last, len(whole)):
        painted.journal_path.write_bytes(whole[:end])
        assert opened(painted.journal_path) == ([1, 2, 3], 0)
        assert painted.journal_path.read_bytes() == whole[:last]


def test_a_journal_changed_at_any_byte_loses_one_line_at_most(painted: Case) -> None:
    whole = painted.journal_path.read_bytes()
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for at, content in changed_bytes(whole):
        painted.journal_path.write_bytes(content)
        found, damaged = opened(painted.journal_path)
        line = sum(end < at for end in ends) + 1
        if at in ends[:-1]:  # two lines in one, both sound
            assert (found, damaged) == ([1, 2, 3, 4], 1)
        else:
            assert found == [seq for seq in (1, 2, 3, 4) if seq != line]
            # One that looks as if a crash had cut it short is dropped silently.
            assert (line != ROWS) <= damaged <= 2


def test_labels_open_with_one_clear_line(painted: Case) -> None:
    whole = painted.journal_path.read_bytes()
    for at in np.linspace(0, len(whole) - 2, 9, dtype=int):
        content = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        # Lines stay sound where only the newline between them is damaged.
        lost = None if whole[at] == ord("\n") else whole[:at].count(b"\n")
        painted.journal_path.write_bytes(content)
        with painted.open_labels() as store:
            (note,) = store.notes
            assert note.startswith("1 damaged lines in ")
            assert note.endswith("all others are there")
            assert "\n" not in note
            found = np.asarray(store.levels[0])[:, 3, 4].tolist()
            expected = [0 if row == lost else row + 1 for row in range(ROWS)]
            assert found == [*expected, 0, 0]
            while store.undo() is not None:
                pass
        for stored in (painted.labels_path, painted.authority_path):
            for chunks in stored.glob("*/c"):
                shutil.rmtree(chunks)


def test_a_review_log_changed_at_any_byte_loses_one_verdict(tmp_path: Path) -> None:
    log = ReviewLog(tmp_path / "review.jsonl")
    for number in (1, 2, 3):
        edge = Edge(
            number=number,
            box=((number, 9), (0, 9), (0, 9)),
            centre=(4, 4, 4),
            expected_wrong=1,
            gain=0.1,
            classes=(1,),
        )
        log.append(edge, "fine", prediction=1)
    assert log.notes() == ()
    whole = log.path.read_bytes()
    boxes = list(log.by_box())
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for at, content in changed_bytes(whole):
        log.path.write_bytes(content)
        line = sum(end < at for end in ends)
        kept = [box for n, box in enumerate(boxes) if n != line or at in ends]
        assert list(log.by_box()) == kept
        assert len(log.notes()) == 1 or line == 2
    for end in range(ends[1] + 1, len(whole)):
        log.path.write_bytes(whole[:end])
        assert list(log.by_box()) in (boxes[:2], boxes)  # without its newline only
        assert log.notes() == ()
