"""E2MISeg, the clean form.

Specification part A.1, after Jiang et al., "E2MISeg", Expert Systems with
Applications 296 (2026) 128861. Written from the specification alone; the published
repository's code is not used.
"""

import itertools

from torch import Tensor, nn

from e2miseg_core.networks.blocks import ResBlock, group_norm, volume_convolution
from e2miseg_core.networks.config import E2MISegConfig
from e2miseg_core.networks.hfr import HFRBlock
from e2miseg_core.networks.mfga import MFGA
from e2miseg_core.networks.outputs import TrainingOutputs

__all__ = ["E2MISeg"]

N_OUTPUTS = 3  # full resolution and the two next ones: deep supervision
DOWN = (2, 2, 2)


class E2MISeg(nn.Module):
    """Edge-aware 3D segmentation network with HFR and MFGA blocks.

    Parameters
    ----------
    config : E2MISegConfig
        Widths, strides and classes.

    Notes
    -----
    `forward` gives the full-resolution logits; `forward_training` also those of
    the coarser decoder levels, for deep supervision.
    """

    def __init__(self, config: E2MISegConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Sequential(
            nn.Conv3d(
                config.in_channels,
                widths[0],
                config.stem_stride,
                config.stem_stride,
                bias=False,
            ),
            group_norm(widths[0]),
        )
        self.encoder = nn.ModuleList(_stage(config, w) for w in widths)
        self.downsample = nn.ModuleList(
            nn.Sequential(nn.Conv3d(a, b, DOWN, DOWN, bias=False), group_norm(b))
            for a, b in itertools.pairwise(widths)
        )
        self.full_skip = ResBlock(config.in_channels, config.base_width)

        finer = (config.base_width, *widths[:-1])
        strides = (config.stem_stride, *(DOWN for _ in widths[:-1]))
        self.aggregate = nn.ModuleList(
            MFGA(coarse, fine, config.n_classes, stride)
            for coarse, fine, stride in zip(widths, finer, strides, strict=True)
        )
        self.upsample = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, stride, stride, bias=False)
            for coarse, fine, stride in zip(widths, finer, strides, strict=True)
        )
        self.decoder = nn.ModuleList(
            [ResBlock(config.base_width, config.base_width)]
            + [_stage(config, w) for w in widths[:-1]]
        )
        self.heads = nn.ModuleList(
            volume_convolution(w, config.n_classes, 1, bias=True)
            for w in (config.base_width, *widths)[: min(N_OUTPUTS, len(widths))]
        )
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, n_classes, Z, Y, X) of an image (N, in_channels, Z, Y, X)."""
        head: Tensor = self.heads[0](self._decode(image)[0])
        return head

    def forward_training(self, image: Tensor) -> TrainingOutputs:
        """Logits of every supervised level."""
        levels = self._decode(image)
        return TrainingOutputs(
            tuple(head(level) for head, level in zip(self.heads, levels, strict=False))
        )

    @property
    def has_edges(self) -> bool:
        """Whether the network tells edges too."""
        return False

    def _decode(self, image: Tensor) -> list[Tensor]:
        """Decoder features X_0, X_1, ..., finest first."""
        skips = [self.full_skip(image)]
        features = self.encoder[0](self.stem(image))
        for downsample, stage in zip(self.downsample, self.encoder[1:], strict=True):
            skips.append(features)
            features = stage(downsample(features))
        decoded = [features]
        for level in reversed(range(len(skips))):
            joined = self.aggregate[level](features, skips[level])
            features = self.decoder[level](self.upsample[level](features) + joined)
            decoded.insert(0, features)
        return decoded


def _stage(config: E2MISegConfig, width: int) -> nn.Sequential:
    return nn.Sequential(
        *(
            HFRBlock(
                width,
                heads=config.heads,
                n_tokens=config.n_tokens,
                attention_dropout=config.attention_dropout,
            )
            for _ in range(config.blocks)
        )
    )


def _initialise(network: nn.Module) -> None:
    """Linear maps: truncated normal, std 0.02, bias 0 (specification A.4)."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
