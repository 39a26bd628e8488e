"""Augmentation with MONAI's transforms, by the list of specification A.6.

Every sample seeds its own transforms, so a batch depends on its number alone.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2miseg_core.training.patches import Sample

__all__ = ["Augmentation"]


class Augmentation:
    """Spatial and intensity changes of a sample, cut to the patch.

    Parameters
    ----------
    patch_size : tuple of 3 int
        ZYX; samples come with a margin around it.
    mirror_axes : sequence of int
        Axes of Z, Y, X mirrored with probability 0.5 each.

    Notes
    -----
    Deviations from the specification: linear instead of cubic interpolation of the
    image; one draw for rotation and scaling together, and a factor for each axis;
    brightness multiplies z-scored values, so it is contrast too, and there is no
    separate contrast; low resolution with probability 0.15 for all channels together;
    no inverted gamma.
    """

    def __init__(
        self, patch_size: tuple[int, int, int], mirror_axes: Sequence[int]
    ) -> None:
        from monai import transforms  # seconds to import, and only training needs it

        angle = math.radians(30)
        image, every = ["image"], ["image", "classes", "valid"]
        self._patch_size = patch_size
        self._transforms = transforms.Compose(
            [
                transforms.RandAffined(
                    every,
                    prob=0.35,
                    rotate_range=(angle, angle, angle),
                    scale_range=((-0.3, 0.4),) * 3,
                    spatial_size=patch_size,
                    mode=("bilinear", "nearest", "nearest"),
                    padding_mode="zeros",  # where nothing is valid
                    cache_grid=True,
                    allow_missing_keys=True,
                ),
                transforms.CenterSpatialCropd(
                    every, patch_size, allow_missing_keys=True
                ),
                transforms.RandGaussianNoised(image, prob=0.1, std=0.3),
                transforms.RandGaussianSmoothd(
                    image,
                    sigma_x=(0.5, 1),
                    sigma_y=(0.5, 1),
                    sigma_z=(0.5, 1),
                    prob=0.2,
                ),
                transforms.RandScaleIntensityd(image, factors=0.25, prob=0.15),
                transforms.RandSimulateLowResolutiond(
                    image, prob=0.15, zoom_range=(0.5, 1.0)
                ),
                transforms.RandAdjustContrastd(
                    image, prob=0.3, gamma=(0.7, 1.5), retain_stats=True
                ),
                *(
                    transforms.RandFlipd(
                        every, 0.5, spatial_axis=axis, allow_missing_keys=True
                    )
                    for axis in mirror_axes
                ),
            ]
        )

    def __call__(
        self, sample: Sample, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augment one sample.

        Returns
        -------
        Tensor of float32, shape (C, *patch_size)
        Tensor of int64, shape patch_size
        """
        changed = self._change(sample, random)
        return _plain(changed["image"]).float(), _whole(changed["classes"])

    def with_valid(
        self, sample: Sample, random: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augment one sample and, alike, the mask of the voxels that count.

        Returns
        -------
        Tensor of float32, shape (C, *patch_size)
        Tensor of int64, shape patch_size
        Tensor of bool, shape patch_size
            What was turned in from outside the sample does not count.
        """
        if sample.valid is None:
            everywhere = np.ones(sample.classes.shape, np.bool_)
            sample = replace(sample, valid=everywhere)
        changed = self._change(sample, random)
        return (
            _plain(changed["image"]).float(),
            _whole(changed["classes"]),
            _whole(changed["valid"]).bool(),
        )

    def _change(self, sample: Sample, random: np.random.Generator) -> dict[str, Any]:
        self._transforms.set_random_state(seed=int(random.integers(2**31)))
        given = {
            "image": torch.from_numpy(np.ascontiguousarray(sample.image)),
            "classes": torch.from_numpy(_channel(sample.classes)),
        }
        if sample.valid is not None:
            given["valid"] = torch.from_numpy(_channel(sample.valid))
        changed: dict[str, Any] = self._transforms(given)
        return changed


def _channel(whole: NDArray[np.uint8 | np.bool_]) -> NDArray[np.float32]:
    return whole[None].astype(np.float32)


def _whole(changed: Any) -> Tensor:
    """Back to whole numbers (Z, Y, X)."""
    return _plain(changed)[0].round().long()


def _plain(tensor: Any) -> Tensor:
    """Without MONAI's metadata."""
    plain: Tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
    return plain
