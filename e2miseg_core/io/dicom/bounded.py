"""The bytes of a header, bounded whatever its lengths say."""

from typing import Any

__all__ = ["BoundedFile", "DeflatedError"]

_HEADER_BYTES = 256 << 20  # the per-frame groups of some 100,000 frames
_PIECE = 1 << 20


class DeflatedError(ValueError):
    """The data set is compressed as a whole."""


class BoundedFile:
    """A file that is read piece by piece, up to a limit, whatever is asked for."""

    def __init__(self, file: Any, limit: int = _HEADER_BYTES) -> None:
        self._file = file
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        """Read at most what is left of the limit; all at once is refused."""
        if size < 0:
            msg = "a deflated data set"
            raise DeflatedError(msg)
        wanted = min(size, self._left)
        pieces = []
        while wanted > 0:
            piece = self._file.read(min(wanted, _PIECE))
            if not piece:
                break
            pieces.append(piece)
            wanted -= len(piece)
        content = b"".join(pieces)
        self._left -= len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, as in any file."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the place in the file."""
        return int(self._file.tell())
