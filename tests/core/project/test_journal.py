"""The journal: what it holds, and what of it survives damage and full disks."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2miseg_core.errors import WriteError
from e2miseg_core.project import CachedVolume, Case, LabelStore, journal, saver
from e2miseg_core.project.changes import Change
from e2miseg_core.project.journal_entries import Entry, decode_entry, encode_entry
from e2miseg_core.project.json_lines import decode_line


def make_entry(seed: int, dtype: type[Any] = np.uint8) -> Entry:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 9, 3))
    mask = rng.random(shape) < rng.choice([0.3, 1.1])
    mask.flat[0] = True
    count = int(mask.sum())
    z, y, x = ((5, 5 + n) for n in shape)
    before, after = (
        Change(
            box=(z, y, x),
            mask=mask,
            labels=rng.integers(0, rng.choice([1, 250]), count).astype(dtype),
            authority=rng.integers(0, rng.choice([1, 3]), count).astype(np.uint8),
        )
        for _ in range(2)
    )
    return Entry(
        seq=seed + 1,
        time="2026-01-01T00:00:00+00:00",
        kind="paint",
        stroke=1,
        name='brush, "origin":',
        before=before,
        after=after,
        more=bool(seed % 2),
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("seed", range(12))
def test_an_entry_comes_back_from_its_line(seed: int, dtype: type[Any]) -> None:
    entry = make_entry(seed, dtype)
    values = decode_line(encode_entry(entry))
    assert values is not None
    again = decode_entry(values)
    for name in ("seq", "time", "kind", "stroke", "name", "more"):
        assert getattr(again, name) == getattr(entry, name)
    for mine, its in ((entry.before, again.before), (entry.after, again.after)):
        assert mine.box == its.box
        np.testing.assert_array_equal(mine.mask, its.mask)
        np.testing.assert_array_equal(mine.labels, its.labels)
        np.testing.assert_array_equal(mine.authority, its.authority)
        assert its.labels.dtype == dtype


def paint_rows(store: LabelStore, rows: range) -> None:
    for row in rows:
        with store.stroke(f"row {row}"):
            store.levels[0][row] = row + 1


def unflushed(case: Case) -> list[bytes]:
    """Lines of the edits, as if the program had died before any chunk was written."""
    lines = case.journal_path.read_bytes().splitlines(keepends=True)
    return [line for line in lines if b'"flushed"' not in line]


def forget_chunks(case: Case) -> None:
    for store in (case.labels_path, case.authority_path):
        for chunk in store.glob("*/c/**/*"):
            if chunk.is_file():
                chunk.unlink()


def test_a_torn_last_line_is_cut_off(
    make_case: Callable[..., Case], locked: None
) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        paint_rows(store, range(4))
    lines = unflushed(case)
    for length in (1, len(lines[3]) // 2, len(lines[3]) - 1):
        forget_chunks(case)
        case.journal_path.write_bytes(b"".join(lines[:3]) + lines[3][:length])
        with case.open_labels() as store:
            assert store.seq == 3
            assert store.notes == ()
            rows = np.asarray(store.levels[0])[:, 0, 0]
            assert rows.tolist() == [1, 2, 3, 0, 0, 0]
            store.levels[0][5] = 9
        assert case.journal_path.read_bytes().startswith(b"".join(lines[:3]))
        with case.open_labels() as store:
            assert store.seq == 4
            assert (np.asarray(store.levels[0][5]) == 9).all()


def test_a_damaged_line_hides_no_other(
    make_case: Callable[..., Case], steps: Any, locked: None
) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        paint_rows(store, range(5))
    lines = unflushed(case)
    lines[1] = lines[1].replace(b'"new":2', b'"new":3')
    forget_chunks(case)
    case.journal_path.write_bytes(b"".join(lines))
    with case.open_labels() as store:
        assert np.asarray(store.levels[0])[:, 0, 0].tolist() == [1, 0, 3, 4, 5, 0]
        (note,) = store.notes
        assert note.startswith("1 damaged lines in ")
        assert "1 edits were lost" in note
        assert store.seq == 5
        for row in (4, 3, 2, 0):
            assert steps(store)[0][-1] == f"row {row}"
            store.undo()
        assert store.undo() is None
        assert not np.asarray(store.authority).any()


def test_half_an_undo_is_none(
    make_case: Callable[..., Case],
    steps: Any,
    locked: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("e2miseg_core.project.changes._LARGEST", 100)
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        with store.stroke("two rows"):
            store.levels[0][0] = 1
            store.levels[0][5] = 2
        store.undo()  # two lines: the box around both rows is too large
        assert store.seq == 4
        assert not np.asarray(store.levels[0]).any()
    lines = unflushed(case)
    forget_chunks(case)
    case.journal_path.write_bytes(b"".join(lines[:3]))
    with case.open_labels() as store:
        assert store.seq == 2
        assert np.asarray(store.levels[0])[:, 0, 0].tolist() == [1, 0, 0, 0, 0, 2]
        assert steps(store)[0] == ["two rows"]
        store.undo()
        assert steps(store) == ([], ["two rows"])
        store.redo()
        assert np.asarray(store.levels[0])[:, 0, 0].tolist() == [1, 0, 0, 0, 0, 2]


def test_a_full_disk_is_told_and_loses_nothing(
    make_case: Callable[..., Case], locked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case((6, 8, 10))
    told: list[Exception] = []
    event = threading.Event()

    def full(file: Any, content: bytes) -> None:
        file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with case.open_labels() as store:
        paint_rows(store, range(2))
        store.flush()
        size = case.journal_path.stat().st_size
        store.failed.extend([told.append, lambda _: event.set()])
        with monkeypatch.context() as patch:
            patch.setattr(journal, "write_whole", full)
            paint_rows(store, range(2, 4))
            assert event.wait(20)
            for _ in range(2):
                with pytest.raises(WriteError, match="No space left") as caught:
                    store.flush()
                assert "\n" not in str(caught.value)
            with pytest.raises(WriteError, match="No space left"):
                store.close()
            store.undo()  # one can go on
            assert store.saved_seq == 2
            assert store.seq == 5
            assert case.journal_path.stat().st_size == size
        assert len(told) == 1  # not at each try
        assert "journal.jsonl cannot be written" in str(told[0])
        store.flush()
        assert store.saved_seq == 5
        store.redo()
    with case.open_labels() as store:
        assert np.asarray(store.levels[0])[:, 0, 0].tolist() == [1, 2, 3, 4, 0, 0]
        assert store.notes == ()


def test_chunks_that_cannot_be_written_stay_in_memory(
    make_case: Callable[..., Case], locked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zarr

    case = make_case((6, 8, 10))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with case.open_labels() as store:
        paint_rows(store, range(3))
        with monkeypatch.context() as patch:
            patch.setattr(zarr.Array, "__setitem__", full)
            with pytest.raises(WriteError, match="No space left"):
                store.flush()
        assert store.saved_seq == 3  # the journal is on disk
        assert np.asarray(store.levels[0])[:, 0, 0].tolist() == [1, 2, 3, 0, 0, 0]
        store.flush()
    stored = zarr.open_array(str(case.labels_path / "0"), mode="r")
    assert stored[:, 0, 0].tolist() == [1, 2, 3, 0, 0, 0]


def test_strokes_reach_a_disk_that_was_full_without_being_asked(
    make_case: Callable[..., Case], locked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody presses a button: the threads tell once, try again, and say it worked."""
    import zarr

    monkeypatch.setattr(journal, "_RETRY", 0.01)
    monkeypatch.setattr(saver, "_RETRY", 0.01)
    monkeypatch.setattr(saver, "_IDLE", 0.0)
    case, written = make_case((6, 8, 10)), threading.Event()
    told: list[str] = []
    refusals = {"journal": 3, "chunks": 3}
    write, assign = journal.write_whole, zarr.Array.__setitem__

    def refuse(what: str) -> None:
        if refusals[what]:
            refusals[what] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")

    def write_line(file: Any, content: bytes) -> None:
        refuse("journal")
        write(file, content)
        if b'"flushed"' in content:
            written.set()

    def write_chunk(array: Any, key: Any, values: Any) -> None:
        refuse("chunks")
        assign(array, key, values)

    monkeypatch.setattr(journal, "write_whole", write_line)
    monkeypatch.setattr(zarr.Array, "__setitem__", write_chunk)
    with case.open_labels() as store:
        store.failed.append(lambda error: told.append(str(error)))
        paint_rows(store, range(3))
        assert np.asarray(store.levels[0])[:3, 0, 0].tolist() == [1, 2, 3]
        assert written.wait(20)
        assert refusals == {"journal": 0, "chunks": 0}
        assert store.saved_seq == store.seq == 3
    assert 1 <= len(told) <= 2  # of the journal, then of the chunks; not at each try
    assert all("No space left" in line and "\n" not in line for line in told)
    stored = zarr.open_array(str(case.labels_path / "0"), mode="r")
    assert stored[:, 0, 0].tolist() == [1, 2, 3, 0, 0, 0]


def test_a_fault_of_the_journals_thread_is_told_to_who_waits(
    make_case: Callable[..., Case], locked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_case((6, 8, 10)).open_labels()
    paint_rows(store, range(2))
    store.flush()

    def fail(_: Entry) -> bytes:
        msg = "a bug"
        raise RuntimeError(msg)

    monkeypatch.setattr(journal, "encode_entry", fail)
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    paint_rows(store, range(2, 4))
    for _ in range(2):
        with pytest.raises(WriteError, match="2 edits are lost, no others"):
            store.close()
    assert [str(one.exc_value) for one in told] == ["a bug"]
    store._saver.close()
    store._journal._file.close()
    store._lock.close()


def test_no_memory_for_a_chunk_is_told_and_tried_again(
    make_case: Callable[..., Case], locked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "_RETRY", 0.01)
    monkeypatch.setattr(saver, "_IDLE", 0.0)
    case, event = make_case((6, 8, 10)), threading.Event()
    told: list[str] = []
    failures = iter([MemoryError(), MemoryError()])
    write_back = CachedVolume.write_back

    def fail_twice(volume: CachedVolume, *args: Any, **options: Any) -> None:
        for error in failures:
            raise error
        write_back(volume, *args, **options)
        event.set()

    monkeypatch.setattr(CachedVolume, "write_back", fail_twice)
    with case.open_labels() as store:
        store.failed.append(lambda error: told.append(str(error)))
        paint_rows(store, range(2))
        assert event.wait(20)
    assert any("not enough memory" in line for line in told)


def test_undoing_a_long_stroke_opens_the_journal_once(
    make_case: Callable[..., Case], locked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        with store.stroke("brush"):
            for x in range(10):
                store.levels[0][1, 1:4, x] = x + 1
        store.flush()
        opened: list[Path] = []
        really_open = Path.open

        def count(path: Path, *args: Any, **options: Any) -> Any:
            opened.append(path)
            return really_open(path, *args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", count)
            store.undo()
        assert opened.count(case.journal_path) == 1
        assert not np.asarray(store.levels[0]).any()
        store.redo()
        assert np.asarray(store.levels[0])[1, 2].tolist() == list(range(1, 11))


def test_lines_of_another_writer_are_understood(
    make_case: Callable[..., Case], steps: Any, locked: None
) -> None:
    """Keys in any order: only the checksum must come last."""
    from e2miseg_core.project.json_lines import encode_line

    case = make_case((6, 8, 10))
    line = {
        "shape": [1, 2, 1],
        "origin": [3, 4, 5],
        "seq": 1,
        "kind": "paint",
        "stroke": 1,
        "time": "2026-01-01T00:00:00+00:00",
        "name": "by hand",
        "more": False,
        "mask": 1,
        "dtype": "uint8",
        "old": 0,
        "new": 7,
        "old_authority": 0,
        "new_authority": 1,
    }
    Path(case.journal_path).write_bytes(encode_line(line))
    with case.open_labels() as store:
        assert np.argwhere(np.asarray(store.levels[0]) == 7).tolist() == [
            [3, 4, 5],
            [3, 5, 5],
        ]
        assert steps(store)[0] == ["by hand"]
