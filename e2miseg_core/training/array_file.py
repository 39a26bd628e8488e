"""Arrays that are written box by box and become visible when they are whole."""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from e2miseg_core.boxes import Box
from e2miseg_core.io.atomic import replacing, writing_to

__all__ = ["ArrayFile", "partial_names", "put", "remove_abandoned"]

ABANDONED = 3600.0  # seconds without a write, after which a partial file is nobody's


class ArrayFile:
    """An `.npy` file (C, Z, Y, X) or (Z, Y, X) that is filled box by box.

    By plain writes, since a full disk ends a process that maps a file.

    Parameters
    ----------
    path : Path
    shape : sequence of int
    dtype : numpy.dtype
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: Any) -> None:
        self._path, self._shape = path, tuple(shape)
        self._dtype = np.dtype(dtype)
        with writing_to(path):
            self._file = path.open("wb")
            header = {
                "descr": npy.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": self._shape,
            }
            npy.write_array_header_1_0(self._file, header)
            self._begin = self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with writing_to(self._path):
            self._file.close()

    def write(self, box: Box, block: NDArray[Any]) -> None:
        """Write a box that reaches over all of X; WriteError where that fails.

        Parameters
        ----------
        box : Box
        block : ndarray, shape (C, z, y, X) or (z, y, X)
        """
        depth, height, width = self._shape[-3:]
        whole = np.ascontiguousarray(block, self._dtype).reshape(-1, *block.shape[-3:])
        (z, _), (y, _), _ = box
        with writing_to(self._path):
            for channel, planes in enumerate(whole):
                for row, plane in enumerate(planes, start=z):
                    voxel = ((channel * depth + row) * height + y) * width
                    self._file.seek(self._begin + voxel * self._dtype.itemsize)
                    self._file.write(memoryview(plane).cast("B"))


@contextmanager
def partial_names(*paths: Path) -> Iterator[list[Path]]:
    """Hidden names beside some files, of the same suffix; what is left is removed."""
    token = secrets.token_hex(4)
    partial = [path.with_name(f".{token}.partial.{path.name}") for path in paths]
    try:
        yield partial
    finally:
        for path in partial:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def put(partial: Path, path: Path) -> None:
    """Give a file that is whole its name, in one step."""
    with replacing(path) as last:
        partial.replace(last)


def remove_abandoned(folder: Path, name: str) -> None:
    """Remove what killed processes left of a case; what is still written to stays."""
    for path in folder.glob(f".*.partial.{escape(name)}.*"):
        with suppress(OSError):  # another process was faster
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
