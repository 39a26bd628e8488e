"""Which patch of which case a training sample shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, make_box
from e2miseg_core.training.prepare import PreparedCase, read_padded

__all__ = ["PatchSampler", "Sample", "margin_size", "sample_generator"]

Triple = tuple[int, int, int]
MARGIN = 1.25  # read around the patch, so that rotation finds image at its corners


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """One patch: image (C, Z, Y, X) float32, classes (Z, Y, X) uint8.

    `valid` (Z, Y, X) says which voxels count; all of them where it is None.
    """

    image: NDArray[np.float32]
    classes: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None = None


def sample_generator(seed: int, step: int, index: int) -> np.random.Generator:
    """Random numbers of one sample, the same however a run was interrupted."""
    return np.random.default_rng([seed, step, index])


def margin_size(patch_size: Sequence[int]) -> Triple:
    """Voxels of a sample, ZYX: the patch with its margin."""
    z, y, x = (p + 2 * int(np.ceil(p * (MARGIN - 1) / 2)) for p in patch_size)
    return z, y, x


class PatchSampler:
    """Random patches, the last third of each batch centred near foreground.

    nnU-Net's rule (specification A.6): sample `index` of a batch of B is forced to
    show foreground if index >= round(0.67 B).

    Parameters
    ----------
    cases : sequence of PreparedCase
    patch_size : tuple of 3 int
        ZYX; samples are larger by a margin for the augmentation to cut away.
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
        forced = index >= round(0.67 * self.batch_size) and bool(case.foreground)
        start = self._near_foreground(case, random) if forced else None
        start = start or self._anywhere(case, random)
        box = self._with_margin(start)
        return Sample(image=case.read(box), classes=read_padded(case.classes, box))

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

    def _with_margin(self, start: Triple) -> Box:
        size = margin_size(self.patch_size)
        first = [
            s - (n - p) // 2
            for s, n, p in zip(start, size, self.patch_size, strict=True)
        ]
        return make_box(first, size)
