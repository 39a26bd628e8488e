"""The journal: every edit on disk within half a second, and how to find it again.

A thread of its own appends what is waiting and has it reach the disk; painting only
queues. What the disk refuses stays queued and is tried again.
"""

import array
import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from e2miseg_core.errors import WriteError, as_user_error
from e2miseg_core.io.atomic import writing_to
from e2miseg_core.project.journal_entries import Entry, decode_entry, encode_entry
from e2miseg_core.project.json_lines import (
    decode_line,
    encode_line,
    is_sound,
    sound_parts,
    write_whole,
)
from e2miseg_core.project.strokes import Strokes

__all__ = ["Journal", "is_flushed"]

_HEAD = {"seq", "kind", "stroke", "name", "more"}
_GATHER = 0.05  # seconds in which stamps of a stroke come together for one write
_RETRY = 2.0  # seconds until a disk that refused is asked again


class Journal:
    """The journal of a case, open for appending.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    on_saved : callable
        Called, in the journal's thread, when something has reached the disk.
    on_failed : callable
        Called, in the journal's thread, with each error when the disk refuses.

    Attributes
    ----------
    strokes : Strokes
        What can be undone, by the lines that were on disk when it was opened; the
        owner keeps it up from then on.
    seq : int
        Number of the latest entry, 0 if there is none.
    flushed : int
        Up to where the chunks are on disk.
    damaged : int
        Lines that cannot be read.

    Raises
    ------
    WriteError
        If the file cannot be opened for writing.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_saved: Callable[[], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self.path, self._on_saved, self._on_failed = path, on_saved, on_failed
        self.strokes = Strokes()
        self.seq = self.flushed = self.damaged = 0
        self._offsets = array.array("q")  # of the entry `seq` at seq - 1; -1 if damaged
        with writing_to(path):
            path.touch()
            self._file: IO[bytes] = path.open("r+b", buffering=0)
            try:
                self._end = self._scan()
                self._file.truncate(self._end)
            except BaseException:
                self._file.close()
                raise
        self.saved = self.seq
        self._queue: list[Entry | int] = []  # a number: that far the chunks are saved
        self._waiting: dict[int, Entry] = {}
        self._failures, self._failure = 0, Exception()
        self._urgent = self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, entries: Sequence[Entry]) -> None:
        """Queue the entries of one step, numbered on from `seq`."""
        with self._wake:
            if self._closing:
                msg = "labels that are closed cannot be edited"
                raise ValueError(msg)
            self.seq = entries[-1].seq
            self._queue.extend(entries)
            self._waiting.update((entry.seq, entry) for entry in entries)
            self._wake.notify_all()

    def mark_flushed(self, seq: int) -> None:
        """Note that all chunks are on disk as they were after entry `seq`."""
        with self._wake:
            self.flushed = seq
            self._queue.append(seq)
            self._wake.notify_all()

    def entries(self, numbers: Iterable[int]) -> Iterator[Entry | None]:
        """Yield entries, from memory or from the disk; None for each damaged one."""
        with self.path.open("rb") as file:
            for seq in numbers:
                yield self._entry(seq, file)

    def wait(self, seq: int) -> None:
        """Wait until all entries up to `seq` are on disk.

        Raises
        ------
        WriteError
            If the disk refuses; they stay queued. Also if a fault of the program has
            ended the journal's thread.
        """
        with self._wake:
            failures = self._failures
            while self.saved < seq:
                self._urgent = True
                self._wake.notify_all()
                self._wake.wait(1.0)
                if self._failures > failures and self.saved < seq:
                    raise self._failure
                if not self._thread.is_alive() and self.saved < seq:
                    raise self._fault()

    @property
    def closed(self) -> bool:
        """Whether `close` has done its work."""
        return self._file.closed

    def close(self) -> None:
        """Write what is queued and end the thread.

        Raises
        ------
        WriteError
            If the disk refuses; the journal stays open, and what is queued in it.
        """
        self.wait(self.seq)
        with self._wake:
            self._closing = self._urgent = True
            self._wake.notify_all()
        self._thread.join()
        self._file.close()

    def _entry(self, seq: int, file: IO[bytes]) -> Entry | None:
        with self._wake:
            if seq in self._waiting:
                return self._waiting[seq]
            offset = self._offsets[seq - 1]
        if offset < 0:
            return None
        file.seek(offset)
        _, line = next(sound_parts(file.readline()), (0, b""))
        values = decode_line(line)
        return None if values is None else decode_entry(values)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                if not self._queue:
                    return
                if not self._urgent:
                    self._wake.wait_for(lambda: self._urgent, _GATHER)
                batch = list(self._queue)
            try:
                self._write(batch)
            except (WriteError, MemoryError) as error:
                self._put_off(as_user_error(error) or error)
                if self._closing:
                    return
            else:
                self._on_saved()

    def _put_off(self, error: Exception) -> None:
        """Tell what went wrong, and wait a while unless somebody waits for us."""
        with self._wake:
            self._failure = error
            self._failures += 1
            self._urgent = False
            self._wake.notify_all()
        self._on_failed(error)
        with self._wake:
            self._wake.wait_for(lambda: self._urgent or self._closing, _RETRY)

    def _fault(self) -> WriteError:
        return WriteError(
            found=f"nothing is written to {self.path} any more, by a fault of e2miseg",
            needed="a program whose journal works",
            do=f"start it again: {self.seq - self.saved} edits are lost, no others",
        )

    def _write(self, batch: list[Entry | int]) -> None:
        lines = [
            encode_line({"kind": "flushed", "seq": item})
            if isinstance(item, int)
            else encode_entry(item)
            for item in batch
        ]
        with writing_to(self.path):
            try:
                self._file.seek(self._end)
                write_whole(self._file, b"".join(lines))
                os.fsync(self._file.fileno())
            except OSError:
                with contextlib.suppress(OSError):  # the next try begins there anyway
                    self._file.truncate(self._end)
                raise
        with self._wake:
            for item, line in zip(batch, lines, strict=True):
                if not isinstance(item, int):
                    self._offsets.append(self._end)
                    del self._waiting[item.seq]
                    self.saved = item.seq
                self._end += len(line)
            del self._queue[: len(batch)]
            self._urgent = False
            self._wake.notify_all()

    def _scan(self) -> int:
        """Learn what the file holds; returns where its last whole step ends."""
        end = 0
        step: list[tuple[int, dict[str, Any]]] = []  # offsets and heads of one undo
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # a crash cut it short
                start, end = end, end + len(line)
                heads = [(start + at, _head(part)) for at, part in sound_parts(line)]
                self.damaged += not is_sound(line) or (start, None) in heads
                for offset, head in heads:
                    if head is None:
                        continue
                    if head["kind"] == "flushed":
                        self.flushed = head["seq"]
                        continue
                    step.append((offset, head))
                    if not head["more"]:
                        self._learn(step)
                        step = []
        self.seq = max(self.seq, self.flushed)
        self._pad_offsets(self.seq)
        return step[0][0] if step else end

    def _learn(self, step: list[tuple[int, dict[str, Any]]]) -> None:
        for offset, head in step:
            seq = head["seq"]
            if seq <= self.seq:
                continue  # told twice
            self._pad_offsets(seq - 1)
            self._offsets.append(offset)
            self.seq = seq
            self.strokes.record(head["kind"], head["stroke"], head["name"], seq)

    def _pad_offsets(self, count: int) -> None:
        self._offsets.extend([-1] * (count - len(self._offsets)))


def is_flushed(path: Path) -> bool:
    """Whether the chunks on disk have all edits that a journal tells of."""
    if not path.exists():
        return True
    seq = flushed = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return False  # just being written
            for _, part in sound_parts(line):
                head = _head(part)
                if head is not None and head["kind"] == "flushed":
                    flushed = max(flushed, head["seq"])
                elif head is not None:
                    seq = max(seq, head["seq"])
    return seq <= flushed


def _head(line: bytes) -> dict[str, Any] | None:
    """Read the place and stroke of a sound line; None if it is none of ours."""
    # Our own lines have the voxels, which may be long, after all that.
    start, found, _ = line.partition(b',"origin":')
    for text in (start + b"}" if found else line, line):
        values: dict[str, Any] = json.loads(text)
        if values.get("kind") == "flushed" or values.keys() >= _HEAD:
            return values
    return None
