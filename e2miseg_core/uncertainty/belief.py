"""What is delivered and what is believed about each voxel of a case, block by block."""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, clip_box, make_box
from e2miseg_core.progress import Job, Progress
from e2miseg_core.project import MACHINE
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.log_probabilities import NONE, decode_log_probabilities
from e2miseg_core.uncertainty.ranking import ClassSums
from e2miseg_core.uncertainty.regions import UNITS, Triple, to_units

if TYPE_CHECKING:
    import zarr

__all__ = ["Belief", "CaseBelief", "Corrections", "classes_of"]

BLOCK = 64  # voxels along an edge of what is looked at in one piece
BLOCKS_KEPT = 128  # of errors, 0.5 MB each


def classes_of(labels: NDArray[Any], values: Sequence[int]) -> NDArray[np.intp]:
    """Class index of label values; one that is not in the table is background.

    Parameters
    ----------
    labels : ndarray of unsigned int
    values : sequence of int
        Label value of each class, background first.
    """
    table = np.zeros(max(values) + 2, np.intp)
    table[list(values)] = np.arange(len(values))
    found: NDArray[np.intp] = table[np.minimum(labels.astype(np.intp), table.size - 1)]
    return found


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Corrections:
    """What humans said: labels (Z, Y, X) that hold where authority is above 0."""

    labels: "zarr.Array[Any]"
    authority: "zarr.Array[Any]"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Belief:
    """A box of voxels.

    Attributes
    ----------
    classes : ndarray of intp, shape (Z, Y, X)
        Delivered class indices h: the human's where there is one, else the machine's.
    doubtful : ndarray of bool, shape (Z, Y, X)
        Where no human spoke and the machine is not certain.
    q : ndarray of float32, shape (C, n)
        Calibrated probabilities of the doubtful voxels; elsewhere h is certain.
    """

    classes: NDArray[np.intp]
    doubtful: NDArray[np.bool_]
    q: NDArray[np.float32]

    def doubt(self, where: NDArray[np.bool_] | None = None) -> ClassSums:
        """Sums over the doubtful voxels, of those in `where` if it is given."""
        if where is None:
            return ClassSums.of(self.classes[self.doubtful], self.q)
        chosen = where[self.doubtful]
        return ClassSums.of(self.classes[self.doubtful & where], self.q[:, chosen])

    def sums(self) -> ClassSums:
        """Sums over all voxels."""
        certain = ClassSums.of_certain(self.classes[~self.doubtful], self.q.shape[0])
        return certain + self.doubt()

    def errors(self) -> NDArray[np.float32]:
        """Expected error, shape (Z, Y, X); 0 where a human spoke."""
        found = np.zeros(self.classes.shape, np.float32)
        chosen = self.classes[self.doubtful]
        right = np.take_along_axis(self.q, chosen[None], axis=0)[0]
        found[self.doubtful] = np.clip(1 - right, 0, 1)
        return found


class CaseBelief:
    """A whole case, read from its stores; a map of errors for `propose_regions`.

    Parameters
    ----------
    log_probabilities : zarr array of uint8, shape (C, Z, Y, X)
        As `encode_log_probabilities` makes it.
    predicted : zarr array, shape (Z, Y, X)
        Label values that the machine chose.
    values : sequence of int
        Label value of each class, background first.
    calibration : Calibration
    corrections : Corrections, optional
        Without them no human spoke.

    Attributes
    ----------
    sums : ClassSums
        Over all voxels, once `scan` has run.
    total : int
        Expected errors in `UNITS`, once `scan` has run.
    occupied : set of tuple of int
        Blocks in which an error is expected, once `scan` has run.
    """

    def __init__(
        self,
        *,
        log_probabilities: "zarr.Array[Any]",
        predicted: "zarr.Array[Any]",
        values: Sequence[int],
        calibration: Calibration,
        corrections: Corrections | None = None,
    ) -> None:
        self._codes, self._predicted = log_probabilities, predicted
        self._calibration, self._corrections = calibration, corrections
        self.values = tuple(values)
        z, y, x = predicted.shape
        self.shape: Triple = (z, y, x)
        # Whole chunks of the stores, thin as they may be in short volumes.
        z, y, x = (n * max(1, BLOCK // n) for n in log_probabilities.chunks[1:])
        self.block_shape: Triple = (z, y, x)
        self.sums = ClassSums.of_certain(np.zeros(0, np.intp), len(values))
        self.total = 0
        self.occupied: set[Triple] = set()
        self._kept: OrderedDict[Triple, NDArray[np.uint16]] = OrderedDict()

    def read(self, box: Box) -> Belief:
        """Read a box that lies in the volume."""
        where = box_slices(box)
        codes = np.asarray(self._codes[(slice(None), *where)])  # (C, Z, Y, X)
        classes = classes_of(np.asarray(self._predicted[where]), self.values)
        doubtful = ((codes != 0) & (codes != NONE)).any(axis=0)
        if self._corrections is not None:
            said = np.asarray(self._corrections.authority[where]) != MACHINE
            if said.any():
                human = np.asarray(self._corrections.labels[where])
                classes = np.where(said, classes_of(human, self.values), classes)
                doubtful &= ~said
        p = decode_log_probabilities(codes[:, doubtful])
        return Belief(classes=classes, doubtful=doubtful, q=self._calibration.apply(p))

    def scan(self) -> Job[None]:
        """Read the case once, for its sums."""
        numbers = [
            range(-(-n // size))
            for n, size in zip(self.shape, self.block_shape, strict=True)
        ]
        indices = list(itertools.product(*numbers))
        for done, (z, y, x) in enumerate(indices, start=1):
            belief = self.read(self._block_box((z, y, x)))
            self.sums += belief.sums()
            if belief.doubtful.any():
                units = to_units(belief.errors())
                self.total += int(units.sum(dtype=np.int64))
                if units.any():
                    self.occupied.add((z, y, x))
                    self._keep((z, y, x), units)
            yield Progress(done=done, total=len(indices), stage="adding up doubts")

    def block(self, index: Triple) -> NDArray[np.uint16]:
        """Expected errors of a block, in `UNITS`."""
        units = self._kept.get(index)
        if units is None:
            units = to_units(self.read(self._block_box(index)).errors())
        self._keep(index, units)
        return units

    @property
    def expected_wrong(self) -> float:
        """Voxels expected to be wrong."""
        return self.total / UNITS

    def _block_box(self, index: Triple) -> Box:
        corner = [i * n for i, n in zip(index, self.block_shape, strict=True)]
        return clip_box(make_box(corner, self.block_shape), self.shape)

    def _keep(self, index: Triple, units: NDArray[np.uint16]) -> None:
        self._kept[index] = units
        self._kept.move_to_end(index)
        if len(self._kept) > BLOCKS_KEPT:
            self._kept.popitem(last=False)
