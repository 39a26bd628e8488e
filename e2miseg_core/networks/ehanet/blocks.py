"""Blocks of EHANet, on (N, C, Y, X): specification B.2 to B.5."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from e2miseg_core.networks.blocks import group_norm

__all__ = ["AHFA", "EFA", "IEM", "SideOutput", "final_head"]


class EFA(nn.Module):
    """Efficient fusion attention: a gate of channels plus a gate of places (B.2).

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_gate = nn.Conv1d(1, 1, 3, padding=1)
        self.place_gate = _pointwise(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Gate features; the shape stays."""
        pooled = x.mean(dim=(2, 3))  # (N, C)
        of_channels = self.channel_gate(pooled[:, None])[:, 0, :, None, None]
        of_places = self.place_gate(x)
        gated: Tensor = x * torch.sigmoid(of_channels) + x * torch.sigmoid(of_places)
        return gated


class AHFA(nn.Module):
    """Adaptive hierarchical feature aggregation: one step of the decoder (B.3).

    Parameters
    ----------
    channels : int
        Of the skip and of the result.
    deep_channels : int
        Of the coarser features.
    norm : {"group", "batch"}
    se_reduction : int
        See `EHANetConfig`.
    """

    def __init__(
        self, channels: int, deep_channels: int, norm: str, se_reduction: int
    ) -> None:
        super().__init__()
        self.deep = _normed(deep_channels, channels, norm)
        self.point = nn.Sequential(
            _pointwise(2 * channels, channels, bias=True),
            _norm(norm, channels),
            _SqueezeExcitation(channels, se_reduction),
        )
        self.area = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            _norm(norm, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            _norm(norm, channels),
        )

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        """Decoder features (N, channels, Y, X) from a skip and half-size features."""
        joined = torch.cat((skip, _doubled(self.deep(deep))), dim=1)
        features: Tensor = self.point(joined) + self.area(joined)
        return features


class SideOutput(nn.Module):
    """Logits of one level of the decoder, which only training looks at (B.3).

    Parameters
    ----------
    channels : int
    norm : {"group", "batch"}
    """

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.transform = _normed(channels, channels, norm)
        self.weight = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            _pointwise(channels, channels),
            _pooled_norm(norm, channels),
            nn.ReLU(),
            _pointwise(channels, channels),
            _pooled_norm(norm, channels),
            nn.Sigmoid(),
        )
        self.out = _pointwise(channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, 1, Y, X) of decoder features."""
        # The weight comes from the features as they are, as coded; the figure draws it
        # from the transformed ones.
        logits: Tensor = self.out(self.transform(features) * self.weight(features))
        return logits


class IEM(nn.Module):
    """Inter-layer edge-aware module with its edge head (B.4).

    Parameters
    ----------
    fine_channels, coarse_channels : int
        Of the features at a half and at a quarter of the size.
    norm : {"group", "batch"}
    """

    WIDTH = 32  # channels of the edge feature

    def __init__(self, fine_channels: int, coarse_channels: int, norm: str) -> None:
        super().__init__()
        self.fine = _edge_branch(fine_channels, norm)
        self.coarse = _edge_branch(coarse_channels, norm)
        self.edge_in = _normed(4, 2, norm)
        # Batch norm as published. A norm within each slice would find edges in every
        # slice, also where there are none.
        self.edge_out = (
            nn.Sequential(_pointwise(2, 2), _norm(norm, 2))
            if norm == "batch"
            else _pointwise(2, 2, bias=True)
        )
        self.feature_in = _normed(4, self.WIDTH, norm)
        self.feature_out = _normed(self.WIDTH, self.WIDTH, norm)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """What both heads look at: 4 channels at half size."""
        return torch.cat((self.fine(fine), self.coarse(_doubled(coarse))), dim=1)

    def edge_logits(self, shared: Tensor) -> Tensor:
        """Logits (N, 2, Y, X) of (no edge, edge), at full size."""
        logits: Tensor = self.edge_out(_doubled(self.edge_in(shared)))
        return logits

    def edge_feature(self, shared: Tensor) -> Tensor:
        """Features (N, 32, Y, X) for the final head, at full size."""
        feature: Tensor = self.feature_out(_doubled(self.feature_in(shared)))
        return feature


def final_head(channels: int, norm: str) -> nn.Sequential:
    """Two 1x1 convolutions and the logits s_g (B.5)."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [
            _pointwise(channels, channels, bias=True),
            _norm(norm, channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, _pointwise(channels, 1, bias=True))


class _SqueezeExcitation(nn.Module):
    """Channel weights from the mean of each channel; no bias."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // (reduction or channels))
        self.weight = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            _pointwise(channels, hidden),
            nn.ReLU(),
            _pointwise(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weighted: Tensor = x * self.weight(x)
        return weighted


def _pointwise(channels: int, out_channels: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 1, bias=bias)


def _normed(channels: int, out_channels: int, norm: str) -> nn.Sequential:
    """A 1x1 convolution without bias, its norm, and ReLU."""
    return nn.Sequential(
        _pointwise(channels, out_channels), _norm(norm, out_channels), nn.ReLU()
    )


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else group_norm(channels)


def _pooled_norm(kind: str, channels: int) -> nn.Module:
    """Norm of one vector for each picture; batch norm needs more than one of them."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)


def _edge_branch(channels: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        *_normed(channels, 2, norm),
        nn.Conv2d(2, 2, 3, padding=1, bias=False),
        _norm(norm, 2),
        nn.ReLU(),
    )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
