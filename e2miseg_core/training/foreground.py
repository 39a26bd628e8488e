"""Some voxels of every foreground class, for patches that show it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.io.atomic import writing_to

__all__ = ["load_foreground", "sample_foreground", "save_foreground"]

MAX_COORDINATES = 5000  # of a class
PIECE = 1 << 20  # voxels looked at together
Coordinates = tuple[NDArray[np.intp], ...]


def sample_foreground(classes: NDArray[np.uint8], n_labels: int) -> Coordinates:
    """Choose voxels of each foreground class, all with the same probability.

    Parameters
    ----------
    classes : ndarray of uint8, shape (Z, Y, X)
        May be memory-mapped: it is read twice, piece by piece.
    n_labels : int
        Foreground classes.

    Returns
    -------
    tuple of ndarray of int, each (N, 3)
        ZYX, at most about 5000 of each class that occurs; of more voxels one out of
        every n that follow each other, so that they lie evenly over the structure.
    """
    flat = classes.reshape(-1)
    counts = np.zeros(n_labels + 1, np.int64)
    for _, piece in _pieces(flat):
        counts += np.bincount(piece, minlength=n_labels + 1)
    chosen = [_ranks(index, int(counts[index])) for index in range(n_labels + 1)]
    found: list[list[NDArray[np.intp]]] = [[] for _ in counts]
    seen = np.zeros_like(counts)
    for start, piece in _pieces(flat):
        here = np.bincount(piece, minlength=n_labels + 1)
        for index in np.flatnonzero(here[1:]) + 1:
            first, last = np.searchsorted(
                chosen[index], (seen[index], seen[index] + here[index])
            )
            wanted = chosen[index][first:last] - seen[index]
            found[index].append(np.flatnonzero(piece == index)[wanted] + start)
        seen += here
    return tuple(
        np.stack(np.unravel_index(np.concatenate(parts), classes.shape), axis=1)
        for parts in found[1:]
        if parts
    )


def save_foreground(path: Path, voxels: Coordinates) -> None:
    """Write what `sample_foreground` chose; WriteError where that fails."""
    with writing_to(path), path.open("wb") as file:
        # Two dimensions also where nothing was found, and in one array to load fast.
        lengths = np.array([len(found) for found in voxels], np.int64)
        together = np.concatenate([*voxels, np.zeros((0, 3), np.intp)])
        np.savez(
            file, allow_pickle=False, lengths=lengths, voxels=together.astype(np.int32)
        )


def load_foreground(path: Path) -> Coordinates:
    """Read what `save_foreground` wrote."""
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        ends = np.cumsum(file["lengths"])
        parts = np.split(file["voxels"].astype(np.intp), ends)
    return tuple(parts[:-1])


def _ranks(index: int, count: int) -> NDArray[np.int64]:
    """Which voxels of a class are taken: a random one of every n."""
    step = 1 + count // MAX_COORDINATES
    firsts = np.arange(0, count, step)
    # A fixed distance would follow a structure's own period, such as its width.
    ranks = firsts + np.random.default_rng(index).integers(step, size=len(firsts))
    kept: NDArray[np.int64] = ranks[ranks < count]
    return kept


def _pieces(flat: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for start in range(0, flat.size, PIECE):
        yield start, np.asarray(flat[start : start + PIECE])
