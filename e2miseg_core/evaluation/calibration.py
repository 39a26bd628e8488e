"""Whether probabilities are what they say: reliability of one structure's.

Each structure is judged by itself, as a yes-or-no question in every voxel: its
probability against whether the reference has it there. Only voxels near the structure
count, those at most `MARGIN` finest voxel sides from where it is or is predicted:
nearly all of a volume is background that no model doubts, and over it every calibration
error is nearly 0.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from e2miseg_core.boxes import (
    Box,
    bounding_box,
    box_of_mask,
    box_slices,
    clip_box,
    grow_box,
    whole_box,
)
from e2miseg_core.evaluation.probabilities import (
    ProbabilityMap,
    checked_probabilities,
)
from e2miseg_core.evaluation.structures import Structure
from e2miseg_core.evaluation.surface import Mask, Spacing

__all__ = ["BINS", "MARGIN", "Reliability", "reliability"]

BINS = 15  # of Guo et al.
MARGIN = 5.0  # in finest voxel sides
_FINE = 64  # finer bins in each, for those of equal mass
_SLAB_VOXELS = 4_000_000
_LEAST = 1e-7  # a probability of 0 would make one voxel's log loss infinite


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Reliability:
    """Sums over voxels, from which every figure follows; several are added.

    Attributes
    ----------
    counts, probability, truth : float array, shape (BINS * fine bins,)
        Voxels in bins of equal width, the sum of their probabilities, and how many
        the reference has. A bin holds its lower bound; the last one 1 as well.
    squared, log_loss : float
        Sums of the squared error and of the negative log likelihood.
    """

    counts: NDArray[np.float64]
    probability: NDArray[np.float64]
    truth: NDArray[np.float64]
    squared: float
    log_loss: float

    @classmethod
    def of(cls, probability: NDArray[Any], truth: NDArray[np.bool_]) -> Self:
        """Sum over voxels, arrays of any equal shape."""
        p = np.clip(probability.ravel().astype(np.float64), 0.0, 1.0)
        y = truth.ravel().astype(np.float64)
        size = BINS * _FINE
        fine = np.minimum((p * size).astype(np.int64), size - 1)
        inside = np.clip(p, _LEAST, 1.0 - _LEAST)
        return cls(
            counts=np.bincount(fine, minlength=size).astype(np.float64),
            probability=np.bincount(fine, p, size).astype(np.float64),
            truth=np.bincount(fine, y, size).astype(np.float64),
            squared=float(np.sum((p - y) ** 2)),
            log_loss=float(-np.sum(np.where(y > 0, np.log(inside), np.log1p(-inside)))),
        )

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(
            counts=self.counts + other.counts,
            probability=self.probability + other.probability,
            truth=self.truth + other.truth,
            squared=self.squared + other.squared,
            log_loss=self.log_loss + other.log_loss,
        )

    @property
    def n_voxels(self) -> int:
        """Voxels that were looked at."""
        return int(self.counts.sum())

    @property
    def bins(self) -> NDArray[np.float64]:
        """Voxels, mean probability and share of truth of each bin, shape (BINS, 3)."""
        counts, p, y = (
            sums.reshape(BINS, _FINE).sum(axis=1)
            for sums in (self.counts, self.probability, self.truth)
        )
        filled = np.where(counts > 0, counts, np.nan)
        return np.stack([counts, p / filled, y / filled], axis=1)

    @property
    def ece(self) -> float | None:
        """Expected calibration error, bins of equal width [1]_; None without voxels.

        References
        ----------
        .. [1] C. Guo et al., "On calibration of modern neural networks", ICML (2017),
           equation 3; here for one structure's probability, not for the winner's.
        """
        return self._error(np.arange(BINS * _FINE) // _FINE)

    @property
    def ace(self) -> float | None:
        """Adaptive calibration error, bins of about equal mass [1]_.

        References
        ----------
        .. [1] J. Nixon et al., "Measuring calibration in deep learning", CVPR
           Workshops (2019).
        """
        if not self.n_voxels:
            return None
        middle = np.cumsum(self.counts) - self.counts / 2
        return self._error((middle / self.counts.sum() * BINS).astype(np.int64))

    @property
    def brier(self) -> float | None:
        """Mean squared error of the probabilities."""
        return self.squared / self.n_voxels if self.n_voxels else None

    @property
    def nll(self) -> float | None:
        """Mean negative log likelihood in nats."""
        return self.log_loss / self.n_voxels if self.n_voxels else None

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            "ece": self.ece,
            "ace": self.ace,
            "brier": self.brier,
            "nll": self.nll,
            "n_voxels": self.n_voxels,
        }

    def _error(self, bin_of: NDArray[np.int64]) -> float | None:
        if not self.n_voxels:
            return None
        gaps = np.bincount(bin_of, weights=self.probability - self.truth)
        return float(np.abs(gaps).sum() / self.counts.sum())


def reliability(
    probabilities: ProbabilityMap,
    structure: Structure,
    predicted: Mask,
    reference: Mask,
    spacing: Spacing,
) -> Reliability:
    """Compare one structure's probability with the reference, near the structure.

    Parameters
    ----------
    probabilities : ProbabilityMap
        Read slab after slab.
    structure : Structure
    predicted, reference : bool array, shape (Z, Y, X)
        Masks of the structure.
    spacing : tuple of float
        ZYX in mm.

    Returns
    -------
    Reliability
        Without any voxel if both masks are empty.

    Raises
    ------
    ConfigError
        If a value is no probability.
    """
    margin = MARGIN * min(spacing)
    reach = [int(margin / side) + 1 for side in spacing]
    frame = whole_box(predicted.shape)
    sums = Reliability.of(np.empty(0), np.empty(0, dtype=bool))
    found = [box_of_mask(mask, frame) for mask in (predicted, reference)]
    boxes = [box for box in found if box is not None]
    if not boxes:
        return sums
    whole = clip_box(grow_box(bounding_box(boxes), reach), predicted.shape)
    for box in _slabs(whole):
        around = clip_box(grow_box(box, reach), predicted.shape)
        where = box_slices(around)
        far = ~(predicted[where] | reference[where])
        if far.all():
            continue
        near = ndimage.distance_transform_edt(far, sampling=spacing) <= margin
        inner = tuple(
            slice(lo - first, hi - first)
            for (lo, hi), (first, _) in zip(box, around, strict=True)
        )
        chosen = near[inner]
        values = checked_probabilities(probabilities.read(structure, box)[chosen])
        sums += Reliability.of(values, reference[box_slices(box)][chosen])
    return sums


def _slabs(box: Box) -> list[Box]:
    (low, high), y, x = box
    rows = max(1, _SLAB_VOXELS // max(1, (y[1] - y[0]) * (x[1] - x[0])))
    return [((z, min(z + rows, high)), y, x) for z in range(low, high, rows)]
