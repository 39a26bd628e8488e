"""E2MISeg, in its clean and in its published form.

Specification part A.1, after Jiang et al., "E2MISeg", Expert Systems with
Applications 296 (2026) 128861. Written from the specification alone; the published
repository's code is not used.
"""

import itertools

import torch
from torch import Tensor, nn

from e2miseg_core.networks.blocks import (
    NormFactory,
    ResBlock,
    group_norm,
)
from e2miseg_core.networks.config import E2MISegConfig
from e2miseg_core.networks.convolutions import SameConv3d
from e2miseg_core.networks.edge_head import EdgeHead
from e2miseg_core.networks.hfr import HFRBlock
from e2miseg_core.networks.initialisation import initialise
from e2miseg_core.networks.mfga import MFGA
from e2miseg_core.networks.outputs import TrainingOutputs
from e2miseg_core.networks.sizes import Triple, check_image

__all__ = ["E2MISeg"]

N_OUTPUTS = 3  # full resolution and the two next ones: deep supervision
DOWN = (2, 2, 2)


class E2MISeg(nn.Module):
    """Edge-aware 3D segmentation network with HFR and MFGA blocks.

    Parameters
    ----------
    config : E2MISegConfig
        Widths, strides, classes, and what the blocks are made of.

    Notes
    -----
    `forward` gives the full-resolution logits; `forward_training` also those of
    the coarser decoder levels, for deep supervision, and those of the edge head.
    All raise ConfigError for an image that the weights do not fit.
    """

    def __init__(self, config: E2MISegConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = _downsampling(
            config, config.in_channels, widths[0], config.stem_stride
        )
        self.encoder = nn.ModuleList(_stage(config, i) for i in range(len(widths)))
        self.downsample = nn.ModuleList(
            _downsampling(config, a, b, DOWN) for a, b in itertools.pairwise(widths)
        )
        self.full_skip = ResBlock(
            config.in_channels, config.base_width, _full_norm(config)
        )
        finer = (config.base_width, *widths[:-1])
        strides = (config.stem_stride, *(DOWN for _ in widths[:-1]))
        self.aggregate: nn.ModuleList | None = None
        if config.mfga.enabled:
            self.aggregate = nn.ModuleList(_aggregations(config))
        self.upsample = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, stride, stride, bias=False)
            for coarse, fine, stride in zip(widths, finer, strides, strict=True)
        )
        full = ResBlock(config.base_width, config.base_width, _full_norm(config))
        self.decoder = nn.ModuleList(
            [full, *(_stage(config, i) for i in range(len(widths) - 1))]
        )
        self.edge_head: EdgeHead | None = None
        if config.edge_head:
            norm = _block_norm(config)
            self.edge_head = EdgeHead(config.base_width, widths[0], norm)
        head_widths = [config.base_width, *widths][: min(N_OUTPUTS, len(widths))]
        head_widths[0] *= 2 if config.edge_head else 1  # with the edge feature
        self.heads = nn.ModuleList(
            SameConv3d(w, config.n_classes, 1, bias=True) for w in head_widths
        )
        initialise(self, config.initialisation, self.encoder)

    @property
    def has_edges(self) -> bool:
        """Whether the network tells edges too."""
        return self.edge_head is not None

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, n_classes, Z, Y, X) of an image (N, in_channels, Z, Y, X)."""
        head: Tensor = self.heads[0](self._decode(image)[0][0])
        return head

    def forward_with_edges(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the probability (N, 1, Z, Y, X) of an edge.

        Only for networks with `has_edges`.
        """
        features, edges = self._decode(image)
        if self.edge_head is None or edges is None:
            msg = "this network has no edge head"
            raise TypeError(msg)
        edge_logits = self.edge_head.logits(edges)
        probability = torch.softmax(edge_logits.float(), dim=1)[:, 1:]
        return self.heads[0](features[0]), probability

    def forward_training(self, image: Tensor) -> TrainingOutputs:
        """Logits of every supervised level, and of the edges."""
        features, edges = self._decode(image)
        return TrainingOutputs(
            tuple(head(x) for head, x in zip(self.heads, features, strict=False)),
            None if self.edge_head is None else self.edge_head.logits(edges),
        )

    def _decode(self, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Inputs of the heads, finest first, and what edges are told from."""
        check_image(image.shape, self.config.in_channels)
        self.config.check_patch(image.shape[2:])
        skips = [self.full_skip(image)]
        features = self.encoder[0](self.stem(image))
        for downsample, stage in zip(self.downsample, self.encoder[1:], strict=True):
            skips.append(features)
            features = stage(downsample(features))
        # The second finest encoder output, where the network has one stage alone too.
        edges = None
        if self.edge_head is not None:
            edges = self.edge_head(skips[0], skips[1] if len(skips) > 1 else features)
        decoded = [features]
        for level in reversed(range(len(skips))):
            joined = skips[level]
            if self.aggregate is not None:
                joined = self.aggregate[level](features, joined)
            features = self.decoder[level](self.upsample[level](features) + joined)
            decoded.insert(0, features)
        if self.edge_head is not None:
            decoded[0] = torch.cat((decoded[0], self.edge_head.feature(edges)), dim=1)
        return decoded, edges


def _block_norm(config: E2MISegConfig) -> NormFactory:
    """Norm of the convolutions inside the blocks."""
    return nn.BatchNorm3d if config.norms == "published" else group_norm


def _full_norm(config: E2MISegConfig) -> NormFactory:
    """Norm of the residual blocks at full resolution."""
    return nn.InstanceNorm3d if config.norms == "published" else group_norm


def _downsampling(
    config: E2MISegConfig, in_channels: int, out_channels: int, stride: Triple
) -> nn.Sequential:
    """A convolution of kernel = stride, and a norm."""
    norm: nn.Module = group_norm(out_channels)
    if config.norms == "published":
        norm = nn.GroupNorm(in_channels, out_channels)
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, stride, stride, bias=False), norm
    )


def _stage(config: E2MISegConfig, stage: int) -> nn.Sequential:
    return nn.Sequential(
        *(
            HFRBlock(
                config.widths[stage],
                heads=config.heads,
                n_tokens=config.stage_tokens(stage),
                attention_dropout=config.attention_dropout,
                settings=config.hfr,
                size=config.stage_size(stage),
                norm=_block_norm(config),
            )
            for _ in range(config.blocks)
        )
    )


def _aggregations(config: E2MISegConfig) -> list[MFGA]:
    """From each stage to the next finer level, finest first."""
    widths = (config.base_width, *config.widths)
    sizes = (config.patch_size, *map(config.stage_size, range(len(config.widths))))
    strides = (config.stem_stride, *(DOWN for _ in config.widths[1:]))
    return [
        MFGA(
            widths[level + 1],
            widths[level],
            config.n_classes,
            stride,
            settings=config.mfga,
            size=sizes[level],
        )
        for level, stride in enumerate(strides)
    ]
