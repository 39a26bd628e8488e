"""Which patch of which case a training sample shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import make_box
from e2miseg_core.training.prepare import PreparedCase, read_padded

__all__ = ["PatchSampler", "Sample", "sample_generator"]

Triple = tuple[int, int, int]
FORCED = 0.33  # of all samples show foreground
_CERTAIN = 0.67  # of a batch's samples are not forced to


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """A place: image (C, Z, Y, X) float32, classes (Z, Y, X) uint8.

    The patch to train on lies in the middle of both.

    Attributes
    ----------
    image : ndarray of float32, shape (C, Z, Y, X)
    classes : ndarray of uint8, shape (Z, Y, X)
    wider : callable or None
        Reads the same place in another size (ZYX); None where there is no more.
    """

    image: NDArray[np.float32]
    classes: NDArray[np.uint8]
    wider: Callable[[Triple], "Sample"] | None = None

    def of_size(self, size: Triple) -> "Sample":
        """The middle of the sample, or as much of `size` as there is.

        Parameters
        ----------
        size : tuple of 3 int
            Voxels, ZYX; it differs from the sample's by even numbers.
        """
        there = self.classes.shape
        if self.wider is not None and any(
            n > m for n, m in zip(size, there, strict=True)
        ):
            return self.wider(size)
        z, y, x = (
            slice(cut, n - cut)
            for n, cut in (
                (m, max(0, m - n) // 2) for n, m in zip(size, there, strict=True)
            )
        )
        return Sample(image=self.image[:, z, y, x], classes=self.classes[z, y, x])


def sample_generator(seed: int, step: int, index: int) -> np.random.Generator:
    """Random numbers of one sample, the same however a run was interrupted."""
    return np.random.default_rng([seed, step, index])


class PatchSampler:
    """Random patches, the last third of each batch at foreground.

    nnU-Net's rule (specification A.6): sample `index` of a batch of B is forced to
    show foreground if index >= round(0.67 B). A batch of one is forced with a
    probability of 0.33, as newer nnU-Net does, since the rule would never force it.

    All cases are equally likely, then all classes that occur in the case, then all
    voxels that are known of the class; its place in the patch is random.

    Parameters
    ----------
    cases : sequence of PreparedCase
    patch_size : tuple of 3 int
        ZYX; more around it is read where a sample is turned.
    batch_size : int
    """

    def __init__(
        self, cases: Sequence[PreparedCase], patch_size: Triple, batch_size: int
    ) -> None:
        self.cases = cases
        self.patch_size = patch_size
        self.batch_size = batch_size

    def sample(self, index: int, random: np.random.Generator) -> Sample:
        """Sample `index` of a batch."""
        case = self.cases[int(random.integers(len(self.cases)))]
        forced = self._is_forced(index, random) and bool(case.foreground)
        start = self._near_foreground(case, random) if forced else None
        start = start or self._anywhere(case, random)
        return _read(case, start, self.patch_size, self.patch_size)

    def _is_forced(self, index: int, random: np.random.Generator) -> bool:
        if self.batch_size == 1:
            return bool(random.random() < FORCED)
        return index >= round(_CERTAIN * self.batch_size)

    def _anywhere(self, case: PreparedCase, random: np.random.Generator) -> Triple:
        z, y, x = (
            int(random.integers(n - p + 1)) if n > p else -((p - n) // 2)
            for n, p in zip(case.shape, self.patch_size, strict=True)
        )
        return z, y, x

    def _near_foreground(
        self, case: PreparedCase, random: np.random.Generator
    ) -> Triple:
        voxels = case.foreground[int(random.integers(len(case.foreground)))]
        voxel = voxels[random.integers(len(voxels))]
        z, y, x = (
            int(np.clip(v - random.integers(p), 0, n - p)) if n > p else -((p - n) // 2)
            for v, n, p in zip(voxel, case.shape, self.patch_size, strict=True)
        )
        return z, y, x


def _read(
    case: PreparedCase, start: Triple, patch_size: Triple, size: Triple
) -> Sample:
    """A sample of `size` around the patch that begins at `start`."""
    first = [s - (n - p) // 2 for s, n, p in zip(start, size, patch_size, strict=True)]
    box = make_box(first, size)
    return Sample(
        image=case.read(box),
        classes=read_padded(case.classes, box),
        wider=partial(_read, case, start, patch_size),
    )
