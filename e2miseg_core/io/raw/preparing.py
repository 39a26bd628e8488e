"""One volume's part in the unpacking of its file, which others may read as well."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from e2miseg_core.io.lazy import Box
from e2miseg_core.io.raw.unpack_copy import Unpacking, User
from e2miseg_core.progress import Progress

__all__ = ["Preparing"]


class Preparing:
    """A `Preparation`: what is cancelled here goes on for those who still want it.

    Parameters
    ----------
    work : Unpacking
        Of this process.
    """

    def __init__(self, work: Unpacking) -> None:
        self._work = work
        self._user = User()

    def __reduce__(self) -> tuple[object, ...]:
        return Preparing, (self._work,)

    @property
    def total(self) -> int:
        """Bytes to be unpacked."""
        return self._work.total

    @property
    def done(self) -> int:
        """Bytes unpacked so far; `total` when nothing is left to do."""
        return self._work.done

    def start(self) -> None:
        """Begin in the background, unless it has begun."""
        self._work.start(self._user)

    def wait(self, progress: Callable[[Progress], None] | None = None) -> None:
        """Return when all is unpacked.

        Parameters
        ----------
        progress : callable, optional
            Called a few times a second; `done` and `total` are bytes.

        Raises
        ------
        ReadError
            If the file is damaged, or the cache cannot be written.
        Cancelled
            If `cancel` was called.
        """
        round_ = self._user.n_cancelled
        finished = False
        while not finished:
            finished, step = self._work.waited(self._user, round_)
            if progress is not None:
                progress(step)

    def cancel(self) -> None:
        """Stop, also for those who wait by this volume; the next read begins again."""
        self._work.leave(self._user)

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box of the stored array, as soon as it is unpacked.

        Raises
        ------
        ReadError, Cancelled
            As `wait`.
        """
        return self._work.read(box, self._user, self._user.n_cancelled)
