"""A prediction and its truth, compared as the prediction comes, slab by slab."""

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.training.pictures import ShownSlice

__all__ = ["SlabComparison", "mean_ratio"]


class SlabComparison:
    """Overlap and volumes of the foreground classes, and one slice to look at.

    Holds no more than a slice of what it is given.

    Parameters
    ----------
    image : ndarray, shape (Z, Y, X)
        The first channel; may be memory-mapped.
    truth : ndarray of uint8, shape (Z, Y, X)
        Class indices; may be memory-mapped.
    n_classes : int
    row : int, optional
        The slice along Z to keep.

    Attributes
    ----------
    counts : ndarray of float64, shape (n_classes - 1, 2)
        Twice the overlap and the sum of both volumes, of each foreground class.
    shown : ShownSlice or None
        Once the wanted slice has come.
    """

    def __init__(
        self,
        image: NDArray[np.floating],
        truth: NDArray[np.uint8],
        n_classes: int,
        row: int | None = None,
    ) -> None:
        self.counts = np.zeros((n_classes - 1, 2))
        self.shown: ShownSlice | None = None
        self._image, self._truth, self._row = image, truth, row

    def add(self, first: int, probabilities: NDArray[np.float32]) -> None:
        """Compare the rows from `first` on, of shape (n_classes, rows, Y, X)."""
        for row in range(first, first + probabilities.shape[1]):
            plane = probabilities[:, row - first]
            predicted, truth = plane.argmax(axis=0), self._truth[row]
            for index, counts in enumerate(self.counts, start=1):
                mine, true = predicted == index, truth == index
                sizes = np.count_nonzero(mine) + np.count_nonzero(true)
                counts += 2 * np.count_nonzero(mine & true), sizes
            if row == self._row:
                self.shown = ShownSlice(
                    image=np.array(self._image[row]),
                    truth=np.array(truth),
                    predicted=predicted,
                    error=1 - plane.max(axis=0),
                )


def mean_ratio(counts: NDArray[np.float64]) -> float:
    """Mean Dice where there is a volume; 0 where there is none at all.

    Parameters
    ----------
    counts : ndarray, shape (..., 2)
        Twice the overlap, and the sum of both volumes.
    """
    overlap, volume = counts[..., 0], counts[..., 1]
    present = volume > 0
    return float((overlap[present] / volume[present]).mean()) if present.any() else 0.0
