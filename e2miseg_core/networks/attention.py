"""The paired attention of the HFR block: over channels and over voxels.

Specification A.2, after Jiang et al., "E2MISeg", Expert Systems with Applications 296
(2026) 128861, and UNETR++, from which it comes. Written from the specification.
"""

import torch
from torch import Tensor, nn

from e2miseg_core.networks.block_config import HFRConfig
from e2miseg_core.networks.token_maps import token_maps

__all__ = ["PairedAttention"]

# Query, key, values of the channel and of the spatial attention: the order of the
# published linear map.
ROLES = ("query", "key", "channel_values", "spatial_values")
VALUES = ROLES[2:]
SHORTEST = 1e-12  # length of a row from which it is divided by its own
# Roles of the convolution feature, by `HFRConfig.qk_source`.
SERVED = {
    "conv": ("query", "key"),
    "token": (),
    "conv_q": ("query",),
    "conv_k": ("key",),
    "conv_v": VALUES,
    "conv_qkv": ROLES,
}


class PairedAttention(nn.Module):
    """Channel attention and spatial attention with the same query and key.

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
    settings : HFRConfig
        Sources, token maps, fusion, and whether to compute as coded.
    size : tuple of 3 int
        Of the volume, for token maps that are tied to it.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        n_tokens: int,
        dropout: float,
        *,
        settings: HFRConfig | None = None,
        size: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        settings = settings or HFRConfig()
        self.heads = heads
        self.as_coded = settings.as_coded
        self.served = SERVED[settings.qk_source]
        self.mapped = tuple(
            role for role in ROLES if settings.as_coded or role not in self.served
        )
        self.values: nn.Linear | None = None
        if self.mapped:
            width = len(self.mapped) * channels
            self.values = nn.Linear(channels, width, bias=False)
        self.pool_keys, self.pool_values = token_maps(
            settings.token_maps, channels, n_tokens, size
        )
        self.spreads_query = settings.pools and settings.spatial_query == "rms"
        self.channel_temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.spatial_temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.dropout = nn.Dropout(dropout)
        self.concatenates = settings.fusion == "concat"
        if self.concatenates:
            self.spatial_out = nn.Linear(channels, channels // 2)
            self.channel_out = nn.Linear(channels, channels - channels // 2)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Attend.

        Parameters
        ----------
        tokens : Tensor, shape (B, N, C)
            Normalised tokens: source of whatever the features do not serve as.
        features : Tensor, shape (B, N, C)
            Convolution features: queries and keys alike, unless set otherwise.

        Returns
        -------
        Tensor, shape (B, N, C)
        """
        parts = self._parts(tokens, features)
        query = _unit(parts["query"])
        key = query if parts["key"] is parts["query"] else _unit(parts["key"])
        by_channel = self._channel_attention(query, key, parts["channel_values"])
        pooled = self._pool(parts["key"], parts["spatial_values"], tokens)
        by_voxel = self._spatial_attention(query, *pooled)
        spatial = self._scramble(by_voxel) if self.as_coded else self._join(by_voxel)
        channel = self._join(by_channel)
        if not self.concatenates:
            return channel + spatial
        return torch.cat((self.spatial_out(spatial), self.channel_out(channel)), dim=-1)

    def _parts(self, tokens: Tensor, features: Tensor) -> dict[str, Tensor]:
        """What plays each role, (B, h, d, N)."""
        parts: dict[str, Tensor] = {}
        if self.values is not None:
            chunks = self.values(tokens).chunk(len(self.mapped), dim=-1)
            pairs = zip(self.mapped, chunks, strict=True)
            parts = {role: self._split(chunk) for role, chunk in pairs}
        if self.served:
            parts |= dict.fromkeys(self.served, self._split(features))
        return parts

    def _pool(
        self, keys: Tensor, values: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of the spatial attention, (B, h, d, N) to (B, h, d, p)."""
        if self.pool_values is not None:
            return self.pool_keys(keys, tokens), self.pool_values(values, tokens)
        both = self.pool_keys(torch.cat((keys, values), dim=2), tokens)
        pooled_keys, pooled_values = both.chunk(2, dim=2)
        return pooled_keys, pooled_values

    def _channel_attention(self, query: Tensor, key: Tensor, values: Tensor) -> Tensor:
        similarity = query @ key.transpose(-1, -2)  # (B, h, d, d)
        weights = torch.softmax(self.channel_temperature * similarity, dim=-1)
        mixed: Tensor = self.dropout(weights) @ values  # (B, h, d, N)
        return mixed

    def _spatial_attention(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        temperature = self.spatial_temperature
        if self.spreads_query:  # from a length of 1 to a mean square of 1
            temperature = temperature * query.shape[-1] ** 0.5
        similarity = query.transpose(-1, -2) @ keys  # (B, h, N, p)
        weights = torch.softmax(temperature * similarity, dim=-1)
        mixed: Tensor = self.dropout(weights) @ values.transpose(-1, -2)
        return mixed.transpose(-1, -2)  # (B, h, d, N)

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, N, C) to (B, h, d, N)."""
        batch, length, channels = tokens.shape
        heads = tokens.reshape(batch, length, self.heads, channels // self.heads)
        return heads.permute(0, 2, 3, 1)

    def _join(self, heads: Tensor) -> Tensor:
        """(B, h, d, N) to (B, N, C): the exact inverse of `_split`."""
        return heads.permute(0, 3, 1, 2).flatten(2)

    def _scramble(self, heads: Tensor) -> Tensor:
        """(B, h, d, N) to (B, N, C) as published (A.8, defect 16).

        Laid out as (B, d, h, N) and read as (B, N, C): voxels and channels mix.
        """
        batch, n_heads, depth, length = heads.shape
        laid_out = heads.permute(0, 2, 1, 3)
        return laid_out.reshape(batch, length, n_heads * depth)


def _unit(rows: Tensor) -> Tensor:
    """Rows (..., N) of unit length, in float32.

    The length is a sum over all voxels, and float16 could not hold the bound either.
    Whatever multiplies them next is rounded to the precision that autocast has for
    products; these add up in float32 inside.
    """
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32)
    unit: Tensor = rows / length.clamp_min(SHORTEST)
    return unit
