"""EHANet, slice by slice.

Specification part B, after the published network of that name for 2D pictures. Written
from the specification alone; the published repository's code is not used.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from e2miseg_core.networks.ehanet.blocks import AHFA, EFA, IEM, SideOutput, final_head
from e2miseg_core.networks.ehanet.config import EHANetConfig
from e2miseg_core.networks.ehanet.encoder import WIDTHS, Encoder
from e2miseg_core.networks.outputs import TrainingOutputs
from e2miseg_core.networks.sizes import check_image

__all__ = ["EHANet"]


class EHANet(nn.Module):
    """Edge-aware binary segmentation of slices.

    Volumes come and go as (N, C, Z, Y, X); the slices across `config.axis` are folded
    into the batch, so they do not see each other, and a 2D picture is a volume of one
    slice.

    Parameters
    ----------
    config : EHANetConfig

    Raises
    ------
    ModelError
        If timm, which has the encoder, is not installed.

    Notes
    -----
    Weights begin at random, the encoder's too. Where `config.pretrained` says that it
    has those of ImageNet it is frozen at once: `ehanet.pretrained` fetches and gives
    them. A model file holds them all, so loading one fetches nothing.

    All ways forward raise ConfigError for an image that the network does not take.

    The logit of class 0 is 0 and that of class 1 is s_g, so their softmax is the
    published sigmoid.
    """

    has_edges = True

    def __init__(self, config: EHANetConfig) -> None:
        super().__init__()
        self.config = config
        norm, reduction = config.norm, config.se_reduction
        self.encoder = Encoder(
            frozen=config.pretrained,
            norm="batch" if config.pretrained else norm,
            whole=config.whole_encoder,
        )
        self.gates = nn.ModuleList(EFA(width) for width in WIDTHS)
        self.edges = IEM(*WIDTHS[:2], norm)
        # Finest first; the coarsest one sees the gated features, the others the one
        # before.
        self.decoder = nn.ModuleList(
            AHFA(width, deep, norm, reduction)
            for width, deep in itertools.pairwise(WIDTHS)
        )
        self.sides = nn.ModuleList(SideOutput(width, norm) for width in WIDTHS[:-1])
        self.head = final_head(WIDTHS[0] + IEM.WIDTH, norm)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, 2, Z, Y, X) of an image (N, in_channels, Z, Y, X)."""
        decoded, shared = self._decode(self._slices(image))
        return self._volume(_two_classes(self._final(decoded[0], shared)), image)

    def forward_with_edges(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the probability (N, 1, Z, Y, X) that a voxel is at an edge."""
        decoded, shared = self._decode(self._slices(image))
        logits = _two_classes(self._final(decoded[0], shared))
        edges = torch.softmax(self.edges.edge_logits(shared).float(), dim=1)[:, 1:]
        return self._volume(logits, image), self._volume(edges, image)

    def forward_training(self, image: Tensor) -> TrainingOutputs:
        """Logits of s_g, s4, s3, s2, s1, all at full size, and of the edges."""
        slices = self._slices(image)
        decoded, shared = self._decode(slices)
        outputs = [self._final(decoded[0], shared)]
        for side, features in zip(self.sides, decoded, strict=True):
            logits = F.interpolate(
                side(features), slices.shape[2:], mode="bilinear", align_corners=True
            )
            outputs.append(logits)
        return TrainingOutputs(
            levels=tuple(self._volume(_two_classes(s), image) for s in outputs),
            edges=self._volume(self.edges.edge_logits(shared), image),
        )

    def _decode(self, slices: Tensor) -> tuple[list[Tensor], Tensor]:
        """Decoder features d4, d3, d2, d1, and what the edge heads look at."""
        features = self.encoder(slices)
        gated = [gate(f) for gate, f in zip(self.gates, features, strict=True)]
        seen = gated if self.config.edge_input == "gated" else features
        decoded = [gated[-1]]
        for step, skip in zip(reversed(self.decoder), gated[-2::-1], strict=True):
            decoded.insert(0, step(skip, decoded[0]))
        return decoded[:-1], self.edges(seen[0], seen[1])

    def _final(self, finest: Tensor, shared: Tensor) -> Tensor:
        """Logits s_g (N, 1, Y, X) at full size."""
        upsampled = F.interpolate(
            finest, scale_factor=2, mode="bilinear", align_corners=False
        )
        joined = torch.cat((upsampled, self.edges.edge_feature(shared)), dim=1)
        logits: Tensor = self.head(joined)
        return logits

    def _slices(self, volume: Tensor) -> Tensor:
        """Slices (N * T, C, rows, columns) of a volume (N, C, Z, Y, X)."""
        check_image(volume.shape, self.config.in_channels)
        self.config.check_patch(volume.shape[2:])
        return volume.movedim(2 + self.config.axis, 1).flatten(0, 1)

    def _volume(self, slices: Tensor, image: Tensor) -> Tensor:
        """Undo `_slices`, for a volume of the batch of `image`."""
        volumes = slices.reshape(len(image), -1, *slices.shape[1:])
        return volumes.movedim(1, 2 + self.config.axis)


def _two_classes(logits: Tensor) -> Tensor:
    """Logits of two classes whose softmax is the sigmoid of `logits`."""
    return torch.cat((torch.zeros_like(logits), logits), dim=1)
