"""HFR, the Hybrid Feature Representation block of E2MISeg.

Specification part A.2, after Jiang et al., "E2MISeg", Expert Systems with
Applications 296 (2026) 128861. Written from the specification; the deviations of the
clean form from the published block are listed in `HFRBlock`.
"""

import math

import torch
from torch import Tensor, nn

from e2miseg_core.networks.attention import PairedAttention
from e2miseg_core.networks.block_config import HFRConfig
from e2miseg_core.networks.blocks import (
    LEAK,
    ChannelLayerNorm,
    NormFactory,
    ResBlock,
    group_norm,
)
from e2miseg_core.networks.convolutions import DepthwiseConv3d, SameConv3d

__all__ = ["HFRBlock", "VoxelPosition"]

LAYER_SCALE = 1e-6  # start value of gamma
DROPOUT = 0.1  # of whole channels after the refinement


class VoxelPosition(nn.Module):
    """One learned vector a voxel, zero at first; tied to one patch size."""

    def __init__(self, channels: int, size: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size
        self.offsets = nn.Parameter(torch.zeros(math.prod(size), channels))

    def forward(self, x: Tensor) -> Tensor:
        """What is added to x (N, C, Z, Y, X): (1, C, Z, Y, X)."""
        return _volume(self.offsets[None], self.size).to(x.dtype)


class HFRBlock(nn.Module):
    """Convolution branch and paired attention, joined and refined.

    Parameters
    ----------
    channels : int
        Width C.
    heads, n_tokens, attention_dropout
        See `PairedAttention`.
    settings : HFRConfig
        What the block is made of; the clean form when left out.
    size : tuple of 3 int
        Of the volume at this stage (ZYX), for weights that are tied to it.
    norm : callable
        Makes the norms of the convolutions.

    Notes
    -----
    Deviations of the clean form from the published block, so that weights are not
    tied to one patch: position encoding by a depthwise 3x3x3 convolution that starts
    at zero, token projections by `TokenPooling`; group norm instead of batch norm;
    the half of the 4C linear map that the published code never reads is left out
    (defect 15); the spatial attention's output goes to the voxels it is of
    (defect 16).
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        n_tokens: int,
        attention_dropout: float,
        settings: HFRConfig | None = None,
        size: tuple[int, int, int] = (1, 1, 1),
        norm: NormFactory = group_norm,
    ) -> None:
        super().__init__()
        settings = settings or HFRConfig()
        self.residual = settings.branch == "residual"
        self.adds = settings.conv_merge == "add"
        self.convolutions = _branch(channels, norm if self.residual else None)
        self.position: nn.Module = VoxelPosition(channels, size)
        if settings.position == "depthwise":
            self.position = DepthwiseConv3d(channels)
            nn.init.zeros_(self.position.weight)
        self.attention: PairedAttention | None = None
        if settings.attention:
            self.norm = ChannelLayerNorm(channels)
            self.attention = PairedAttention(
                channels,
                heads,
                n_tokens,
                attention_dropout,
                settings=settings,
                size=size,
            )
            self.layer_scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        blocks = [
            ResBlock(channels, channels, norm) for _ in range(settings.refinements)
        ]
        self.refinement = blocks[0] if len(blocks) == 1 else nn.Sequential(*blocks)
        self.refinement_out = nn.Sequential(
            nn.Dropout3d(DROPOUT), SameConv3d(channels, channels, 1, bias=True)
        )
        self.out = SameConv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, Z, Y, X) to the same shape."""
        convolved = self.convolutions(x)
        if self.residual:
            convolved = x + convolved
        mixed = x + self.position(x)
        if self.attention is not None:
            attended = self.attention(
                _tokens(self.norm(mixed)), _tokens(convolved)
            )  # (N, voxels, C)
            scaled = (self.layer_scale * attended).to(mixed.dtype)
            mixed = mixed + _volume(scaled, x.shape[2:])
        refined = mixed + self.refinement_out(self.refinement(mixed))
        if self.adds:
            refined = refined + convolved
        result: Tensor = self.out(refined) + x
        return result


def _branch(channels: int, norm: NormFactory | None) -> nn.Sequential:
    """Two convolutions, each with its activation and, where given, norm."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers.append(SameConv3d(channels, channels))
        layers += [] if norm is None else [norm(channels)]
        layers.append(nn.LeakyReLU(LEAK, inplace=True))
    return nn.Sequential(*layers)


def _tokens(volume: Tensor) -> Tensor:
    """(N, C, Z, Y, X) to (N, voxels, C)."""
    return torch.movedim(volume, 1, -1).flatten(1, 3)


def _volume(tokens: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, voxels, C) to (N, C, Z, Y, X) of `size` (ZYX)."""
    return torch.movedim(tokens.unflatten(1, size), -1, 1)
