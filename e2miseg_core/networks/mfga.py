"""MFGA, the Multi-level Feature Group Aggregation of E2MISeg.

Specification part A.3, after Jiang et al., "E2MISeg", Expert Systems with
Applications 296 (2026) 128861. Written from the specification.
"""

import torch
from torch import Tensor, nn

from e2miseg_core.networks.block_config import MFGAConfig
from e2miseg_core.networks.blocks import (
    ChannelLayerNorm,
)
from e2miseg_core.networks.convolutions import DepthwiseConv3d, SameConv3d
from e2miseg_core.networks.sizes import Triple

__all__ = ["DILATIONS", "MFGA"]

DILATIONS = (1, 2, 6, 7)  # one a group


class MFGA(nn.Module):
    """Join a coarse feature map and a skip through dilated channel groups.

    Parameters
    ----------
    coarse_channels, channels : int
        Channels of the coarse map and of the skip; `channels` divisible by 4.
    n_classes : int
        Channels of the mask logits that every group sees.
    stride : tuple of 3 int
        Upsampling factor from the coarse map to the skip, ZYX.
    settings : MFGAConfig
        Deviations from the published form; none when left out.
    size : tuple of 3 int, optional
        Of the skip at the network's own patch, ZYX: for `cap_dilation`.
    """

    def __init__(
        self,
        coarse_channels: int,
        channels: int,
        n_classes: int,
        stride: Triple,
        *,
        settings: MFGAConfig | None = None,
        size: Triple | None = None,
    ) -> None:
        super().__init__()
        settings = settings or MFGAConfig()
        self.upsample = nn.ConvTranspose3d(
            coarse_channels, channels, stride, stride, bias=False
        )
        self.mask = SameConv3d(channels, n_classes, 1, bias=True)
        self.softmax_mask = settings.softmax_mask
        width = channels // 2 + n_classes
        self.group_norm = ChannelLayerNorm(width)  # shared by the groups, as published
        capped = size if settings.cap_dilation else None
        self.groups = nn.ModuleList(
            DepthwiseConv3d(width, _dilation(rate, capped), bias=True)
            for rate in DILATIONS
        )
        self.norm = ChannelLayerNorm(len(DILATIONS) * width)
        self.out = SameConv3d(len(DILATIONS) * width, channels, 1)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Aggregate.

        Parameters
        ----------
        coarse : Tensor, shape (N, coarse_channels, Z/s, Y/s, X/s)
        skip : Tensor, shape (N, channels, Z, Y, X)

        Returns
        -------
        Tensor, shape (N, channels, Z, Y, X)
        """
        upsampled = self.upsample(coarse)
        mask = self.mask(upsampled)
        if self.softmax_mask:
            mask = torch.softmax(mask.float(), dim=1).to(mask.dtype)
        n_groups = len(self.groups)
        pairs = zip(upsampled.chunk(n_groups, 1), skip.chunk(n_groups, 1), strict=True)
        gathered = [
            convolution(self.group_norm(torch.cat((coarse_part, skip_part, mask), 1)))
            for convolution, (coarse_part, skip_part) in zip(
                self.groups, pairs, strict=True
            )
        ]
        joined: Tensor = self.out(self.norm(torch.cat(gathered, dim=1)))
        return joined


def _dilation(rate: int, size: Triple | None) -> Triple:
    """The rate on each axis, capped where an axis has no more voxels than it."""
    if size is None:
        return rate, rate, rate
    z, y, x = (max(1, min(rate, length - 1)) for length in size)
    return z, y, x
