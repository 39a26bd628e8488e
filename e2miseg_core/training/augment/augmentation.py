"""Augmentation of a sample: image and labels together."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from e2miseg_core.boxes import box_slices
from e2miseg_core.training.augment.changes import Changes, draw_changes, plane_axis
from e2miseg_core.training.augment.intensity import change_intensities
from e2miseg_core.training.augment.rules import NNUNET, AugmentationRules
from e2miseg_core.training.augment.spatial import move, source_map, source_size
from e2miseg_core.training.patches import Sample

__all__ = ["Augmentation"]


class Augmentation:
    """Spatial and intensity changes of a sample, cut to the patch.

    What happens to a sample is drawn from the generator that comes with it, and then
    done: nothing else is random.

    Parameters
    ----------
    patch_size : tuple of 3 int
        ZYX.
    mirror_axes : sequence of int
        Axes of Z, Y, X that may be mirrored.
    dummy_2d : bool
        Turn and scale slice by slice, across the patch's thinnest axis: for patches
        that are much coarser along it. Patches of one slice always are.
    zero_outside : sequence of bool
        One a channel: whether voxels that are 0 in the sample are 0 again in the end,
        for channels that were normalised within their non-zero voxels. Empty: none.
    cubic : bool
        Interpolate the image by cubic splines as nnU-Net does, not linearly.
    rules : AugmentationRules
        What happens how often; nnU-Net's list by default; `EHANET` is another.

    Notes
    -----
    Deviations from nnU-Net's list: linear interpolation unless `cubic` is set; labels
    are those of the nearest voxel; noise has a variance of up to 0.1, as in its paper,
    where its code (and `NNUNET_CODE`) draws a standard deviation of up to 0.1.

    References
    ----------
    Specification A.6 and B.7.
    """

    def __init__(
        self,
        patch_size: tuple[int, int, int],
        mirror_axes: Sequence[int],
        *,
        dummy_2d: bool = False,
        zero_outside: Sequence[bool] = (),
        cubic: bool = False,
        rules: AugmentationRules = NNUNET,
    ) -> None:
        self.patch_size = patch_size
        self.rules = rules
        self._mirror_axes = tuple(mirror_axes)
        self._plane = (
            plane_axis(patch_size) if dummy_2d or min(patch_size) == 1 else None
        )
        self._zeroed = [number for number, zero in enumerate(zero_outside) if zero]
        self._cubic = cubic

    def __call__(
        self, sample: Sample, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augment one sample.

        Parameters
        ----------
        sample : Sample
            The patch lies in its middle.
        random : numpy.random.Generator

        Returns
        -------
        Tensor of float32, shape (C, *patch_size)
        Tensor of int64, shape patch_size
        """
        changes = draw_changes(
            self.rules,
            random,
            n_channels=sample.image.shape[0],
            patch_size=self.patch_size,
            mirror_axes=self._mirror_axes,
            plane=self._plane,
        )
        image, masks = self._patch(sample, changes)
        image = change_intensities(image, changes, self._plane)
        for axis in changes.mirrored:
            image, masks = image.flip(axis + 1), masks.flip(axis + 1)
        for place, number in enumerate(self._zeroed, start=1):
            image[number] *= masks[place] != 0
        for hole in changes.holes:
            image[(slice(None), *box_slices(hole))] = 0
        return image, masks[0].long()

    def _patch(self, sample: Sample, changes: Changes) -> tuple[Tensor, Tensor]:
        """Cut the patch out of the sample, turned and scaled."""
        if not changes.moves:
            return self._tensors(sample.of_size(self.patch_size))
        matrix = source_map(changes, self._plane)
        size = source_size(self.patch_size, matrix, cubic=self._cubic)
        image, masks = self._tensors(sample.of_size(size))
        return move(image, masks, matrix, self.patch_size, cubic=self._cubic)

    def _tensors(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """The image, and as masks: labels, where channels are not 0."""
        masks = [sample.classes]
        masks += [(sample.image[number] != 0).view(np.uint8) for number in self._zeroed]
        return (
            torch.from_numpy(np.ascontiguousarray(sample.image, np.float32)),
            torch.from_numpy(np.stack(masks)),
        )
