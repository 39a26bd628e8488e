"""How the N voxels of a stage become the p tokens of its spatial attention.

Specification A.2. Each map takes values (B, h, d, N) and the normalised tokens
(B, N, C) of the same voxels, and gives (B, h, d, p).
"""

import math

import torch
from torch import Tensor, nn

from e2miseg_core.networks.block_config import FIXED_TOKEN_MAPS

__all__ = ["TokenMatrix", "TokenPooling", "VoxelLinear", "token_maps"]


class TokenPooling(nn.Module):
    """Pool N tokens to p by learned weights that do not depend on N.

    The published block multiplies with an (N, p) matrix, which ties its weights to
    one patch size. Here the matrix is made from the tokens: softmax over the N
    voxels of a linear map C -> p, so each pooled token is a weighted mean.
    """

    def __init__(self, channels: int, n_tokens: int) -> None:
        super().__init__()
        # The bias has no effect, since a softmax over the voxels takes it out again;
        # it stays for the sake of the model files that have it.
        self.scores = nn.Linear(channels, n_tokens)

    def weights(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, C) to weights (B, N, p) that sum to 1 over N."""
        return torch.softmax(self.scores(tokens).float(), dim=1)

    def forward(self, values: Tensor, tokens: Tensor) -> Tensor:
        """Map (B, h, d, N) to (B, h, d, p)."""
        return torch.einsum("bhdn,bnp->bhdp", values, self.weights(tokens))


class VoxelLinear(nn.Linear):
    """A linear map with bias over the voxels, as published for ACDC and PET."""

    def forward(self, values: Tensor, _tokens: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, h, d, N) to (B, h, d, p)."""
        return super().forward(values)


class TokenMatrix(nn.Module):
    """A matrix (N, p) without bias, as published for brain.

    Uniform in +-1/sqrt(p) at first; no linear layer, so that the initialiser of the
    linear layers leaves it alone.
    """

    def __init__(self, n_voxels: int, n_tokens: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_tokens)
        self.weight = nn.Parameter(torch.empty(n_voxels, n_tokens))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, values: Tensor, _tokens: Tensor) -> Tensor:
        """Map (B, h, d, N) to (B, h, d, p)."""
        return values @ self.weight


def token_maps(
    kind: str, channels: int, n_tokens: int, size: tuple[int, int, int]
) -> tuple[nn.Module, nn.Module | None]:
    """The map of the keys, and that of the values where it is another one.

    Parameters
    ----------
    kind : str
        See `HFRConfig.token_maps`.
    channels, n_tokens : int
        C and p.
    size : tuple of 3 int
        Of the volume (ZYX), N voxels; only the maps that are tied to it use it.
    """
    n_voxels = math.prod(size)

    def make() -> nn.Module:
        if kind not in FIXED_TOKEN_MAPS:
            return TokenPooling(channels, n_tokens)
        if kind == "shared_matrix":
            return TokenMatrix(n_voxels, n_tokens)
        return VoxelLinear(n_voxels, n_tokens)

    return make(), make() if kind in ("pooling", "separate") else None
