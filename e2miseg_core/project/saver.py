"""Writing changed chunks back when nobody paints."""

import threading
import time
from collections.abc import Callable

from e2miseg_core.chunks import Index
from e2miseg_core.errors import E2MISegError, as_user_error
from e2miseg_core.project.chunk_cache import CachedVolume
from e2miseg_core.project.journal import Journal
from e2miseg_core.project.label_arrays import LabelArrays

__all__ = ["ChunkSaver"]

_LOOK = 0.2  # seconds between two looks for something to do
_IDLE = 1.0  # seconds without an edit after which chunks are written
_RETRY = 5.0  # seconds until a disk that refused is asked again
_MANY = 512  # changed chunks that are written even while somebody paints


class ChunkSaver:
    """A thread that brings chunks to disk, after the journal's lines on them.

    Parameters
    ----------
    arrays : LabelArrays
        Whose chunks.
    journal : Journal
        Whose lines must be on disk before, and which is told afterwards.
    on_failed : callable
        Called, in this thread, when the disk refuses.
    """

    def __init__(
        self,
        arrays: LabelArrays,
        journal: Journal,
        *,
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._arrays, self._journal, self._on_failed = arrays, journal, on_failed
        self._disk = threading.Lock()  # one writer: no chunk goes back in time
        self._edited = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chunks", daemon=True)
        self._thread.start()

    def postpone(self) -> None:
        """Somebody paints: let them paint."""
        self._edited = time.monotonic()

    def write(
        self,
        volume: CachedVolume,
        index: Index,
        *,
        precious: Callable[[], bool] = lambda: True,
    ) -> None:
        """Write one chunk back now.

        Parameters
        ----------
        volume : CachedVolume
        index : tuple of int
            Of its chunk.
        precious : callable
            As for `CachedVolume.write_back`.

        Raises
        ------
        WriteError
            If the disk refuses; the chunk stays in memory.
        """
        with self._disk:
            volume.write_back(index, before=self._wait_for_journal, precious=precious)

    def flush(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Write all changed chunks back, and note that in the journal.

        Parameters
        ----------
        go_on : callable
            Asked before each chunk.

        Raises
        ------
        WriteError
            If the disk refuses; what is not written stays in memory.
        """
        with self._arrays.lock:
            seq, work = self._journal.seq, self._arrays.dirty
        for volume, index in work:
            if not go_on():
                return
            self.write(volume, index)
        if seq > self._journal.flushed:
            self._wait_for_journal()
            self._journal.mark_flushed(seq)

    def close(self) -> None:
        """End the thread; nothing is written."""
        self._stop.set()
        self._thread.join()

    def _wait_for_journal(self) -> None:
        self._journal.wait(self._journal.seq)

    def _run(self) -> None:
        pause = _LOOK
        while not self._stop.wait(pause):
            pause = _LOOK
            count = len(self._arrays.dirty)
            go_on = self._is_open if count > _MANY else self._is_idle
            if not count or not go_on():
                continue
            try:
                self.flush(go_on)
            except (E2MISegError, MemoryError) as error:
                self._on_failed(as_user_error(error) or error)
                pause = _RETRY
            except RuntimeError:  # zarr's threads are gone: the program ends
                if threading.main_thread().is_alive():
                    raise

    def _is_open(self) -> bool:
        return not self._stop.is_set() and threading.main_thread().is_alive()

    def _is_idle(self) -> bool:
        return self._is_open() and time.monotonic() - self._edited > _IDLE
