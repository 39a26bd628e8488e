"""nnU-Net's planning rules, each a function of a few numbers.

References
----------
.. [1] F. Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
   biomedical image segmentation", Nature Methods 18 (2021) 203, section "Rule-based
   parameters"; specification A.6.
"""

import math
from collections.abc import Sequence

import numpy as np

from e2miseg_core.training.fingerprint import CaseFingerprint

__all__ = [
    "ANISOTROPY",
    "FULL_SHARE",
    "MIN_BATCH",
    "SHORT_AXIS",
    "batch_bounds",
    "batch_rule",
    "coarse_axis",
    "median_shape",
    "needs_mask",
    "patch_rule",
    "slice_axis_rule",
    "spacing_rule",
    "stem_rule",
]

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]

ANISOTROPY = 3.0  # ratio beyond which an axis counts as coarse
SAME_SCALE = 2.0  # ratio of spacings up to which axes are downsampled together
SHORT_AXIS = 8  # voxels below which an axis is not downsampled at first
FULL_SHARE = 0.75  # of a median volume; less inside the non-zero box calls for the mask
BATCH_SHARE = 0.05  # of the voxels of the set that one batch may show
MIN_BATCH = 2
FIRST_CUBE = 256**3  # voxels of the first patch, a cube in mm
FIRST_SQUARE = 2048**2  # and pixels of the first slice


def spacing_rule(cases: Sequence[CaseFingerprint]) -> tuple[Spacing, int | None]:
    """Target spacing (ZYX, mm), and the axis that takes its 10th percentile, if any.

    The median of the cases. Where the coarsest axis is more than 3 times as coarse as
    the others and has less than a third of their voxels, it takes its 10th
    percentile, so that few cases lose slices; it gets no finer than the others.
    """
    spacings = np.array([case.spacing for case in cases])
    sizes = np.median([case.cropped_shape for case in cases], axis=0)
    target = np.median(spacings, axis=0)
    axis = coarse_axis(target)
    if axis is not None and sizes[axis] * ANISOTROPY >= np.delete(sizes, axis).min():
        axis = None  # coarse, but as long as the others
    if axis is not None:
        finest = np.percentile(spacings[:, axis], 10)
        target[axis] = max(finest, np.delete(target, axis).max())
    z, y, x = (float(f"{s:.6g}") for s in target)
    return (z, y, x), axis


def coarse_axis(spacing: Sequence[float]) -> int | None:
    """The axis more than 3 times as coarse as both others, if there is one."""
    axis = int(np.argmax(spacing))
    others = [s for i, s in enumerate(spacing) if i != axis]
    return axis if spacing[axis] > ANISOTROPY * max(others) else None


def median_shape(cases: Sequence[CaseFingerprint], spacing: Spacing) -> Triple:
    """Voxels (ZYX) of the median non-zero box at a spacing."""
    shapes = [
        [
            max(1, round(n * old / new))
            for n, old, new in zip(
                case.cropped_shape, case.spacing, spacing, strict=True
            )
        ]
        for case in cases
    ]
    z, y, x = (max(1, round(float(n))) for n in np.median(shapes, axis=0))
    return z, y, x


def needs_mask(cases: Sequence[CaseFingerprint]) -> bool:
    """Whether the non-zero boxes are less than 3/4 of the volumes, by the median."""
    return float(np.median([case.nonzero_share for case in cases])) < FULL_SHARE


def stem_rule(stem: Triple, spacing: Spacing, shape: Triple) -> Triple:
    """The stem's stride, 1 along axes that nnU-Net would not downsample at first.

    Those more than twice as coarse as the finest, until the others have caught up, and
    those of less than 8 voxels.

    Parameters
    ----------
    stem : tuple of 3 int
        Of the preset.
    spacing : tuple of 3 float
        mm.
    shape : tuple of 3 int
        Median voxels.
    """
    finest = min(spacing)
    z, y, x = (
        1 if size > SAME_SCALE * finest or n < SHORT_AXIS else stride
        for stride, size, n in zip(stem, spacing, shape, strict=True)
    )
    return z, y, x


def slice_axis_rule(axis: int, spacing: Spacing) -> int:
    """Across which axis slices lie: the coarsest if clearly so, else `axis`."""
    coarsest = int(np.argmax(spacing))
    return coarsest if spacing[coarsest] > SAME_SCALE * spacing[axis] else axis


def patch_rule(
    shape: Sequence[int],
    spacing: Sequence[float],
    stride: Sequence[int],
    max_voxels: int,
) -> tuple[int, ...]:
    """Patch of a network, along as many axes as are given (3, or 2 for slices).

    It begins as a cube in mm, cut to the median volume and rounded up to multiples of
    the stride. While it is too large, the axis that covers most of the median volume
    loses one stride; between equals the longest does.

    Parameters
    ----------
    shape : sequence of int
        Median voxels at `spacing`.
    spacing : sequence of float
        mm.
    stride : sequence of int
        Total stride of the network: every side is a multiple.
    max_voxels : int
        Of the patch. No side gets smaller than one stride, whatever this says.
    """
    per_mm = 1 / np.asarray(spacing, np.float64)
    first = FIRST_CUBE if len(shape) == 3 else FIRST_SQUARE
    cube = per_mm * (first / per_mm.prod()) ** (1 / len(shape))
    patch = [
        max(1, math.ceil(min(n, round(float(c))) / s)) * s
        for n, c, s in zip(shape, cube, stride, strict=True)
    ]
    while math.prod(patch) > max_voxels:
        larger = [i for i, s in enumerate(stride) if patch[i] > s]
        if not larger:
            break
        axis = max(larger, key=lambda i: (patch[i] / shape[i], patch[i]))
        patch[axis] -= stride[axis]
    return tuple(patch)


def batch_rule(
    batch_size: int, max_voxels: int, patch_size: Sequence[int], set_voxels: int
) -> int:
    """Patches in a batch: at least 2, at most what shows 5 % of the set's voxels.

    Parameters
    ----------
    batch_size : int
        For a patch of `max_voxels`; a smaller patch leaves room for more.
    max_voxels : int
    patch_size : sequence of int
    set_voxels : int
        Voxels of the whole training set at the target spacing.
    """
    return max(
        MIN_BATCH, min(batch_bounds(batch_size, max_voxels, patch_size, set_voxels))
    )


def batch_bounds(
    batch_size: int, max_voxels: int, patch_size: Sequence[int], set_voxels: int
) -> tuple[int, int]:
    """The two upper bounds of `batch_rule`: by memory, and by the set's voxels."""
    patch = math.prod(patch_size)
    room = batch_size * max_voxels // patch
    return room, int(BATCH_SHARE * set_voxels / patch)
