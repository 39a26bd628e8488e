"""Whether positions lie evenly, evenly but for gaps, or evenly in parts."""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EVEN",
    "LARGEST_GAPS",
    "find_even_runs",
    "is_even",
    "number_with_gaps",
    "unevenness",
]

EVEN = 0.1  # of the spacing
_ROUNDED = 0.1  # mm: positions are often written with one decimal,
_MOST_ROUNDED = 0.25  # which may be that part of a thin slice
LARGEST_GAPS = 0.2  # missing planes, as a fraction of those there
_SHORTEST_RUN = 3
_MOST_RUNS = 8


def unevenness(places: NDArray[np.float64], indices: NDArray[np.int64]) -> float:
    """Farthest distance from an even row, as a fraction of its step."""
    step = (places[-1] - places[0]) / indices[-1]
    even = places[0] + indices[:, None] * step
    length = float(np.linalg.norm(step))
    if not length > 0:
        return np.inf
    return float(np.linalg.norm(places - even, axis=1).max()) / length


def is_even(places: NDArray[np.float64], indices: NDArray[np.int64]) -> bool:
    """Whether positions lie in an even row, but for rounding."""
    step = float(np.linalg.norm(places[-1] - places[0])) / float(indices[-1])
    if not step > 0:
        return False
    allowed = max(EVEN, min(_ROUNDED / step, _MOST_ROUNDED))
    return unevenness(places, indices) <= allowed


def number_with_gaps(
    places: NDArray[np.float64], along: NDArray[np.float64]
) -> NDArray[np.int64] | None:
    """Number planes so that a few gaps are multiples of the usual spacing."""
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if not usual > 0 or gaps.max() / usual > len(along):
        return None
    steps = np.maximum(1, np.rint(gaps / usual)).astype(np.int64)
    missing = int((steps - 1).sum())
    if missing < 1 or missing > max(1, LARGEST_GAPS * len(along)):
        return None
    indices = np.concatenate([[0], np.cumsum(steps)])
    return indices if is_even(places, indices) else None


def find_even_runs(
    along: NDArray[np.float64], places: NDArray[np.float64]
) -> list[tuple[int, int]] | None:
    """Cut where the spacing changes; neighbouring runs share the plane between."""
    gaps = np.diff(along)
    cuts = [0]
    for index in range(1, len(gaps)):
        if abs(gaps[index] - gaps[cuts[-1]]) > EVEN * gaps[cuts[-1]]:
            cuts.append(index)
    ends = [*cuts[1:], len(gaps)]
    runs = [(start, end + 1) for start, end in zip(cuts, ends, strict=True)]
    if len(runs) > _MOST_RUNS or min(b - a for a, b in runs) < _SHORTEST_RUN:
        return None
    if not all(is_even(places[a:b], np.arange(b - a)) for a, b in runs):
        return None
    return runs
