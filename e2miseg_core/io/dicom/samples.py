"""From stored samples to values: their bits, scale and type."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.dicom.layout import PixelLayout
from e2miseg_core.io.dicom.rows import PlaneSource

__all__ = ["cast_values", "output_type", "used_bits", "wrapped"]

_LARGEST_SCALE = 2**31  # products of it and 32 bits fit into 64
_INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4")


def output_type(sources: Iterable[PlaneSource], factor: float) -> np.dtype[Any]:
    """Choose the smallest integers that hold every value exactly, else float32."""
    sources = list(sources)
    kinds = {source.layout.kind for source in sources}
    if "double" in kinds:
        return np.dtype(np.float64)
    scales = {
        (s.layout.stored, s.layout.is_signed, s.slope, s.intercept) for s in sources
    }
    is_whole = all(
        number % 1 == 0 and abs(number) < _LARGEST_SCALE
        for _, _, *scale in scales
        for number in scale
    )
    if kinds != {"integer"} or factor != 1 or not is_whole:
        return np.dtype(np.float32)
    ends = []
    for bits, is_signed, slope, intercept in scales:
        low = -(2 ** (bits - 1)) if is_signed else 0
        for end in (low, low + 2**bits - 1):
            ends.append(int(slope) * end + int(intercept))
    for name in _INTEGERS:
        limits = np.iinfo(name)
        if limits.min <= min(ends) and max(ends) <= limits.max:
            return np.dtype(name)
    return np.dtype(np.float32)


def used_bits(stored: NDArray[Any], layout: PixelLayout) -> NDArray[Any]:
    """Drop what lies in unused bits, such as overlays, and extend the sign."""
    if layout.kind != "integer" or layout.stored >= layout.allocated:
        return stored
    wide = stored.astype(np.int64) >> (layout.high + 1 - layout.stored)
    wide &= (1 << layout.stored) - 1
    if layout.is_signed:
        half = 1 << (layout.stored - 1)
        wide = (wide ^ half) - half
    return wide


def wrapped(number: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a whole number modulo the width of a type of integers."""
    wrapped: NDArray[Any] = np.array(int(number), np.int64).astype(dtype)
    return wrapped


def cast_values(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert real values; to integers by rounding, within their limits."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    with np.errstate(over="ignore"):  # beyond float32: infinite
        converted: NDArray[Any] = values.astype(dtype)
    return converted
