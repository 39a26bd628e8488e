"""What correcting a region is worth: the expected gain in mean Dice.

It is the gain in the scale-sensitive similarity of the SS loss with its factor alpha
frozen to 1, since alpha says almost nothing for whole volumes and can pay for making a
volume wrong. What remains weighs an error by the size of the object that it is in.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOOR", "ClassSums", "expected_dice", "expected_gain"]

FLOOR = 20.0  # voxels of P + T, so that an empty class does not take the whole queue


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ClassSums:
    """Sums over voxels for each class, background included; each of shape (C,).

    Attributes
    ----------
    delivered : ndarray of float64
        P: voxels that the labels h give to the class.
    expected : ndarray of float64
        T: voxels that it has by the calibrated probabilities q.
    common : ndarray of float64
        TP: of the delivered ones, how many are expected to be right.
    """

    delivered: NDArray[np.float64]
    expected: NDArray[np.float64]
    common: NDArray[np.float64]

    @classmethod
    def of(cls, labels: NDArray[np.integer], q: NDArray[np.float32]) -> Self:
        """Sum over voxels of class indices (N,) and probabilities (C, N)."""
        n_classes = q.shape[0]
        right = np.take_along_axis(q, labels[None].astype(np.intp), axis=0)[0]
        common = np.bincount(labels, weights=right, minlength=n_classes)
        return cls(
            delivered=np.bincount(labels, minlength=n_classes).astype(np.float64),
            expected=q.sum(axis=1, dtype=np.float64),
            common=common.astype(np.float64),
        )

    @classmethod
    def of_certain(cls, labels: NDArray[np.integer], n_classes: int) -> Self:
        """Sum over voxels whose class indices (N,) are known to be right."""
        counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
        return cls(delivered=counts, expected=counts, common=counts)

    def __add__(self, other: "ClassSums") -> "ClassSums":
        return ClassSums(
            delivered=self.delivered + other.delivered,
            expected=self.expected + other.expected,
            common=self.common + other.common,
        )


def expected_dice(sums: ClassSums) -> float:
    """Dice of delivered labels and expectation, 2 TP / (P + T), mean of the classes.

    The background has no say. P + T counts as at least 20 voxels.
    """
    size = np.maximum(FLOOR, sums.delivered + sums.expected)
    return float((2 * sums.common / size)[1:].mean())


def expected_gain(case: ClassSums, region: ClassSums) -> float:
    """How much the expected Dice of a case grows when a region is corrected.

    Parameters
    ----------
    case, region : ClassSums
        Of all voxels, and of those to be corrected.

    Returns
    -------
    float
        0 or more. The delivered labels of the region are replaced by its expectation,
        which then is right.
    """
    corrected = ClassSums(
        delivered=case.delivered - region.delivered + region.expected,
        expected=case.expected,
        common=case.common - region.common + region.expected,
    )
    return expected_dice(corrected) - expected_dice(case)
