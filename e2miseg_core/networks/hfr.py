"""HFR, the Hybrid Feature Representation block of E2MISeg.

Specification part A.2, after Jiang et al., "E2MISeg", Expert Systems with
Applications 296 (2026) 128861. Written from the specification; deviations of this
clean form from the published block are listed in `HFRBlock`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from e2miseg_core.networks.blocks import (
    LEAK,
    ChannelLayerNorm,
    ResBlock,
    group_norm,
    volume_convolution,
)

__all__ = ["HFRBlock", "PairedAttention", "TokenPooling"]

LAYER_SCALE = 1e-6  # start value of gamma


class TokenPooling(nn.Module):
    """Pool N tokens to p by learned weights that do not depend on N.

    The published block multiplies with an (N, p) matrix, which ties its weights to
    one patch size. Here the matrix is made from the tokens: softmax over the N
    voxels of a linear map C -> p, so each pooled token is a weighted mean.
    """

    def __init__(self, channels: int, n_tokens: int) -> None:
        super().__init__()
        self.scores = nn.Linear(channels, n_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, C) to weights (B, N, p) that sum to 1 over N."""
        return torch.softmax(self.scores(tokens).float(), dim=1)


class PairedAttention(nn.Module):
    """Channel attention and spatial attention with one shared query and key.

    Parameters
    ----------
    channels : int
        C, divisible by `heads`.
    heads : int
        Attention heads h; each has d = C / h channels.
    n_tokens : int
        Length p to which keys and values of the spatial attention are pooled.
    dropout : float
        Rate on both attention maps.
    """

    def __init__(
        self, channels: int, heads: int, n_tokens: int, dropout: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.values = nn.Linear(channels, 2 * channels, bias=False)
        self.pool_keys = TokenPooling(channels, n_tokens)
        self.pool_values = TokenPooling(channels, n_tokens)
        self.channel_temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.spatial_temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.dropout = nn.Dropout(dropout)
        self.spatial_out = nn.Linear(channels, channels // 2)
        self.channel_out = nn.Linear(channels, channels - channels // 2)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Attend.

        Parameters
        ----------
        tokens : Tensor, shape (B, N, C)
            Normalised tokens: source of the values.
        features : Tensor, shape (B, N, C)
            Convolution features: queries and keys alike.

        Returns
        -------
        Tensor, shape (B, N, C)
        """
        channel_values, spatial_values = self.values(tokens).chunk(2, dim=-1)
        shared = self._split(features)  # (B, h, d, N)
        # Sums over all voxels: in float32 whatever the network's dtype.
        normalised = F.normalize(shared.float(), dim=-1)
        by_channel = self._channel_attention(normalised, self._split(channel_values))
        pooled_keys = torch.einsum(
            "bhdn,bnp->bhdp", shared.float(), self.pool_keys(tokens)
        )
        pooled_values = torch.einsum(
            "bhdn,bnp->bhdp",
            self._split(spatial_values).float(),
            self.pool_values(tokens),
        )
        by_voxel = self._spatial_attention(normalised, pooled_keys, pooled_values)
        return torch.cat(
            (
                self.spatial_out(self._join(by_voxel)),
                self.channel_out(self._join(by_channel)),
            ),
            dim=-1,
        )

    def _channel_attention(self, normalised: Tensor, values: Tensor) -> Tensor:
        similarity = normalised @ normalised.transpose(-1, -2)  # (B, h, d, d)
        weights = torch.softmax(self.channel_temperature * similarity, dim=-1)
        mixed: Tensor = self.dropout(weights) @ values.float()  # (B, h, d, N)
        return mixed

    def _spatial_attention(
        self, normalised: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        similarity = normalised.transpose(-1, -2) @ keys  # (B, h, N, p)
        weights = torch.softmax(self.spatial_temperature * similarity, dim=-1)
        mixed: Tensor = self.dropout(weights) @ values.transpose(-1, -2)
        return mixed.transpose(-1, -2)  # (B, h, d, N)

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, N, C) to (B, h, d, N)."""
        batch, length, channels = tokens.shape
        heads = tokens.reshape(batch, length, self.heads, channels // self.heads)
        return heads.permute(0, 2, 3, 1)

    def _join(self, heads: Tensor) -> Tensor:
        """(B, h, d, N) to (B, N, C): the exact inverse of `_split`.

        The published code flattens (B, d, h, N) instead and scrambles voxels with
        channels (specification A.8, defect 16).
        """
        return heads.permute(0, 3, 1, 2).flatten(2)


class HFRBlock(nn.Module):
    """Convolution branch and paired attention, joined and refined.

    Parameters
    ----------
    channels : int
        Width C.
    heads, n_tokens, attention_dropout
        See `PairedAttention`.

    Notes
    -----
    Deviations from the published block, so that weights are not tied to one patch:
    position encoding by a depthwise 3x3x3 convolution that starts at zero, token
    projections by `TokenPooling`; group norm instead of batch norm; the half of the
    4C linear map that the published code never reads is left out (defect 15).
    """

    def __init__(
        self, channels: int, *, heads: int, n_tokens: int, attention_dropout: float
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            volume_convolution(channels, channels),
            group_norm(channels),
            nn.LeakyReLU(LEAK, inplace=True),
            volume_convolution(channels, channels),
            group_norm(channels),
            nn.LeakyReLU(LEAK, inplace=True),
        )
        self.position = nn.Conv3d(
            channels, channels, 3, padding=1, groups=channels, bias=False
        )
        nn.init.zeros_(self.position.weight)
        self.norm = ChannelLayerNorm(channels)
        self.attention = PairedAttention(channels, heads, n_tokens, attention_dropout)
        self.layer_scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.refinement = ResBlock(channels, channels)
        self.refinement_out = nn.Sequential(
            nn.Dropout3d(0.1), volume_convolution(channels, channels, 1, bias=True)
        )
        self.out = volume_convolution(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, Z, Y, X) to the same shape."""
        convolved = x + self.convolutions(x)
        positioned = x + self.position(x)
        attended = self.attention(
            _tokens(self.norm(positioned)), _tokens(convolved)
        )  # (N, voxels, C)
        scaled = (self.layer_scale * attended).to(x.dtype)
        mixed = positioned + _volume(scaled, x)
        refined = mixed + self.refinement_out(self.refinement(mixed))
        result: Tensor = self.out(refined) + x
        return result


def _tokens(volume: Tensor) -> Tensor:
    """(N, C, Z, Y, X) to (N, voxels, C)."""
    return torch.movedim(volume, 1, -1).flatten(1, 3)


def _volume(tokens: Tensor, like: Tensor) -> Tensor:
    """(N, voxels, C) to the shape of `like`, (N, C, Z, Y, X)."""
    return torch.movedim(tokens.unflatten(1, like.shape[2:]), -1, 1)
