"""The edge head of E2MISeg: EHANet's inter-layer edge module, taken to 3D.

Specification B.4 and B.9, after Tang et al., "EHANet", Biomedical Signal Processing and
Control 101 (2025) 107202. Written from the specification.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from e2miseg_core.networks.blocks import NormFactory, group_norm
from e2miseg_core.networks.convolutions import SameConv3d

__all__ = ["EdgeHead"]

EDGE_WIDTH = 2  # channels from each of the two levels


class EdgeHead(nn.Module):
    """Edge logits, and the edge feature that the segmentation head sees.

    Parameters
    ----------
    fine_channels, coarse_channels : int
        Channels of E0 (full resolution) and E1.
    norm : callable
        Makes the norms.

    Notes
    -----
    Deviations from the 2D module: both inputs are brought to full resolution, where
    E0 already is; E1's 1x1x1 convolution comes before its upsampling, which is the
    same by arithmetic and cheaper; the last convolution of the edge logits has a
    bias and no norm, since a norm over one patch would find edges in every patch.
    """

    def __init__(
        self,
        fine_channels: int,
        coarse_channels: int,
        norm: NormFactory = group_norm,
    ) -> None:
        super().__init__()
        self.fine_in = SameConv3d(fine_channels, EDGE_WIDTH, 1)
        self.coarse_in = SameConv3d(coarse_channels, EDGE_WIDTH, 1)
        self.fine = _refined(norm)
        self.coarse = _refined(norm)
        self.logits = nn.Sequential(
            SameConv3d(2 * EDGE_WIDTH, 2, 1),
            norm(2),
            nn.ReLU(inplace=True),
            SameConv3d(2, 2, 1, bias=True),
        )
        self.feature = nn.Sequential(
            SameConv3d(2 * EDGE_WIDTH, fine_channels, 1),
            norm(fine_channels),
            nn.ReLU(inplace=True),
            SameConv3d(fine_channels, fine_channels, 1),
            norm(fine_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """What edges are told from.

        Parameters
        ----------
        fine : Tensor, shape (N, fine_channels, Z, Y, X)
        coarse : Tensor, shape (N, coarse_channels, Z/s, Y/s, X/s)

        Returns
        -------
        Tensor, shape (N, 4, Z, Y, X)
            Input of `logits` and `feature`.
        """
        upsampled = F.interpolate(
            self.coarse_in(coarse), size=fine.shape[2:], mode="trilinear"
        )
        return torch.cat((self.fine(self.fine_in(fine)), self.coarse(upsampled)), 1)


def _refined(norm: NormFactory) -> nn.Sequential:
    """The part of a level's path after its 1x1x1 convolution."""
    return nn.Sequential(
        norm(EDGE_WIDTH),
        nn.ReLU(inplace=True),
        SameConv3d(EDGE_WIDTH, EDGE_WIDTH),
        norm(EDGE_WIDTH),
        nn.ReLU(inplace=True),
    )
