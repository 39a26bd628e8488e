"""Convolution blocks shared by the networks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from e2miseg_core.networks.convolutions import SameConv3d

__all__ = [
    "LEAK",
    "ChannelLayerNorm",
    "NormFactory",
    "ResBlock",
    "group_norm",
]

LEAK = 0.01  # negative slope of every leaky ReLU, specification part A
GROUP_WIDTH = 8  # channels normalised together

NormFactory = Callable[[int], nn.Module]  # channels -> norm


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm over groups of 8 channels, one group where 8 does not divide.

    It stands in for the batch and instance norms of the published blocks: it is
    independent of the batch, so batches of one and fine-tuning behave alike.
    """
    groups = channels // GROUP_WIDTH if channels % GROUP_WIDTH == 0 else 1
    return nn.GroupNorm(groups, channels)


class ResBlock(nn.Module):
    """Two 3x3x3 convolutions with norms and a skip (specification, conventions).

    Parameters
    ----------
    in_channels, out_channels : int
        Where they differ the skip is a 1x1x1 convolution with its own norm.
    norm : callable
        Makes each norm from a number of channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: NormFactory = group_norm
    ) -> None:
        super().__init__()
        self.first = SameConv3d(in_channels, out_channels)
        self.first_norm = norm(out_channels)
        self.second = SameConv3d(out_channels, out_channels)
        self.second_norm = norm(out_channels)
        self.activation = nn.LeakyReLU(LEAK, inplace=True)
        self.skip: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip = nn.Sequential(
                SameConv3d(in_channels, out_channels, 1), norm(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, Z, Y, X) to (N, out_channels, Z, Y, X)."""
        residual = self.activation(self.first_norm(self.first(x)))
        residual = self.second_norm(self.second(residual))
        activated: Tensor = self.activation(residual + self.skip(x))
        return activated


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of each voxel, (N, C, Z, Y, X) in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each voxel's channel vector."""
        # With channels last in memory both permutations are free views.
        return torch.movedim(self.norm(torch.movedim(x, 1, -1)), -1, 1)
