"""MONAI's DynUNet as nnU-Net would set it up: network, patch, loss, optimiser."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from e2miseg_core.devices import choose_precision
from e2miseg_core.training.prepare import PreparedCase

__all__ = [
    "UNet",
    "deep_loss",
    "optimizer_of",
    "patch_of",
    "safe_precision",
    "strides_of",
]

Triple = tuple[int, int, int]
UNIT, MAX_SIZE = 8, 96  # of a patch, voxels


class UNet(nn.Module):
    """DynUNet with strides and widths as nnU-Net chooses them."""

    has_edges = False

    def __init__(
        self, strides: list[list[int]], in_channels: int, n_classes: int, width: int
    ) -> None:
        super().__init__()
        kernels = [[3, 3, 3]] * len(strides)
        filters = [min(width * 2**level, 320) for level in range(len(strides))]
        self.n_levels = max(1, len(strides) - 2) + 1  # supervised, the finest included
        self.network = DynUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=n_classes,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=filters,
            norm_name=("instance", {"affine": True}),
            deep_supervision=True,
            deep_supr_num=self.n_levels - 1,
        )

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.network(image)
        return found[:, 0] if found.ndim == 6 else found

    def levels(self, image: Tensor) -> list[Tensor]:
        """Logits of every supervised level, all at full size, finest first."""
        return [level.float() for level in self.network(image).unbind(dim=1)]


def strides_of(patch: Triple, spacing: Sequence[float]) -> list[list[int]]:
    """nnU-Net's strides: halve an axis while 4 voxels are left, coarse axes later."""
    size, step = list(patch), list(spacing)
    strides = [[1, 1, 1]]
    while len(strides) < 6:
        finest = min(step)
        halved = [
            2 if n >= 8 and n % 2 == 0 and s <= 2 * finest else 1
            for n, s in zip(size, step, strict=True)
        ]
        if max(halved) == 1:
            return strides
        strides.append(halved)
        size = [n // h for n, h in zip(size, halved, strict=True)]
        step = [s * h for s, h in zip(step, halved, strict=True)]
    return strides


def patch_of(cases: Sequence[PreparedCase]) -> Triple:
    """The median case, rounded up to the strides: nnU-Net's patch for small images."""
    median = np.median([case.shape for case in cases], axis=0)
    z, y, x = (min(MAX_SIZE, UNIT * math.ceil(size / UNIT)) for size in median)
    return z, y, x


def safe_precision(asked: str, patch: Triple, strides: Sequence[Sequence[int]]) -> str:
    """The precision to compute in; float32 where a stage is 2 voxels deep.

    There PyTorch's bfloat16 convolution leaves the weights' gradient unset on a CPU.
    """
    depth = patch[0]
    depths = [depth := depth // stride[0] for stride in strides]
    if 2 in depths:
        return "float32"
    return choose_precision(asked, torch.device("cpu"))


def deep_loss(levels: int) -> DeepSupervisionLoss:
    """Cross-entropy plus Dice, sample by sample, over the classes but background.

    As nnU-Net weighs them, a level counts half of the one above it and the weights sum
    to 1. Unlike nnU-Net's, DynUNet's levels are all enlarged to full size, and the
    coarsest counts too.
    """
    total = sum(2.0**-level for level in range(levels))
    return DeepSupervisionLoss(
        DiceCELoss(
            include_background=False, to_onehot_y=True, softmax=True, batch=False
        ),
        weights=[2.0**-level / total for level in range(levels)],
    )


def optimizer_of(name: str, network: UNet) -> torch.optim.Optimizer:
    """`sgd` as nnU-Net has it, or `adamw`."""
    if name == "sgd":
        return torch.optim.SGD(
            network.parameters(), 1e-2, 0.99, weight_decay=3e-5, nesterov=True
        )
    return torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
