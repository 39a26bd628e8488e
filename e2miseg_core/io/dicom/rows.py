"""Rows of planes that lie in files one after another, as they are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ReadError
from e2miseg_core.io.dicom.header import open_file
from e2miseg_core.io.dicom.layout import PixelLayout, stored_type
from e2miseg_core.io.dicom.tags import PARSE_ERRORS

__all__ = ["PlaneSource", "read_plain"]


@dataclass(frozen=True, slots=True)
class PlaneSource:
    """Where a plane is read from, and its scale."""

    path: Path
    layout: PixelLayout
    index: int
    slope: float
    intercept: float

    @property
    def is_plain(self) -> bool:
        """Whether its rows lie in the file one after another, as they are."""
        layout = self.layout
        is_swapped = layout.is_big_endian and layout.allocated == 8
        is_odd = layout.photometric.startswith("YBR") or layout.allocated < 8
        return not (layout.is_encapsulated or is_swapped or is_odd)


def read_plain(
    sources: Iterable[PlaneSource], rows: slice
) -> Iterator[tuple[PlaneSource, NDArray[Any]]]:
    """Read rows at their offsets; a file with several frames is opened once."""
    path: Path | None = None
    file: Any = None
    try:
        for source in sources:
            try:
                if source.path != path:
                    if file is not None:
                        file.close()
                    file, path = open_file(source.path), source.path
                content = _rows_of(file, source, rows)
            except PARSE_ERRORS as error:
                raise ReadError(
                    found=f"{source.path} is missing, damaged or cut off",
                    needed="a whole file",
                    do="copy or export the series again",
                ) from error
            yield source, content
    finally:
        if file is not None:
            file.close()


def _rows_of(file: Any, source: PlaneSource, rows: slice) -> NDArray[Any]:
    """Read rows (Y, X, samples)."""
    layout = source.layout
    dtype = stored_type(layout)
    start = layout.offset + source.index * layout.frame_bytes
    count = rows.stop - rows.start
    planes = layout.samples if layout.planar else 1
    inner = 1 if layout.planar else layout.samples
    row = layout.columns * inner * dtype.itemsize
    parts = []
    for plane in range(planes):
        file.seek(start + (plane * layout.rows + rows.start) * row)
        content = file.read(count * row)
        if len(content) != count * row:
            msg = "cut off"
            raise EOFError(msg)
        part = np.frombuffer(content, dtype)
        parts.append(part.reshape(count, layout.columns, inner))
    return parts[0] if planes == 1 else np.concatenate(parts, axis=2)
