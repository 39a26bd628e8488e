"""The configuration of an E2MISeg network."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks.block_config import HFRConfig, MFGAConfig
from e2miseg_core.networks.reading import check_choices, read_config
from e2miseg_core.networks.sizes import Triple, check_multiples

__all__ = ["E2MISegConfig"]

MOST_BLOCKS = 64  # in a stage: beyond it a file is damaged, or made to stop programs


@dataclass(frozen=True, slots=True, kw_only=True)
class E2MISegConfig:
    """Everything that fixes the shape of an E2MISeg network.

    Attributes
    ----------
    in_channels, n_classes : int
        `n_classes` counts the background.
    patch_size : tuple of 3 int
        Patch (ZYX, voxels) for training and prediction; each axis divisible by
        `total_stride`. The weights accept any other divisible patch as well, unless
        they are tied to this one (`fixed_patch`).
    stem_stride : tuple of 3 int
        Kernel and stride of the stem, ZYX.
    base_width : int
        Channels at full resolution, divisible by 4.
    widths : tuple of int
        Channels of the encoder stages, finest first; with the published norms each
        one a multiple of the one before.
    blocks : int
        HFR blocks in each stage of encoder and decoder.
    heads : int
        Attention heads.
    n_tokens : int or tuple of int
        Length of the pooled keys and values: one for all, or one a stage, finest
        first, for encoder and decoder alike.
    attention_dropout : float
        Rate on the attention maps.
    hfr : HFRConfig
        What the HFR blocks are made of.
    mfga : MFGAConfig
        What joins coarse features and skips.
    norms : {"group", "published"}
        Group norms everywhere, independent of the batch; or batch, instance and
        group norms where the published network has them.
    initialisation : {"linear", "encoder_linear", "he"}
        Linear maps by a truncated normal of 0.02, everywhere or as published in the
        encoder alone, the rest by the library; "he": convolutions by He's rule.
    edge_head : bool
        Tell edges at full resolution, and use what they are told from (B.9).
    """

    in_channels: int
    n_classes: int
    patch_size: Triple
    stem_stride: Triple = (2, 2, 2)
    base_width: int = 16
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: int = 3
    heads: int = 4
    n_tokens: int | tuple[int, ...] = 64
    attention_dropout: float = 0.1
    hfr: HFRConfig = field(default_factory=HFRConfig)
    mfga: MFGAConfig = field(default_factory=MFGAConfig)
    norms: Literal["group", "published"] = "group"
    initialisation: Literal["linear", "encoder_linear", "he"] = "linear"
    edge_head: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        tokens = self.n_tokens if isinstance(self.n_tokens, tuple) else (self.n_tokens,)
        counts = (self.heads, *tokens, self.blocks, self.base_width)
        if (
            min(*counts, *self.stem_stride) < 1
            or self.blocks > MOST_BLOCKS
            or not 0 <= self.attention_dropout < 1
        ):
            raise ConfigError(
                found=f"heads, tokens, blocks, width {counts}, stem stride "
                f"{self.stem_stride}, dropout {self.attention_dropout}",
                needed=f"at least 1 each, at most {MOST_BLOCKS} blocks, and a dropout "
                "from 0 to below 1",
                do="correct the configuration",
            )
        if self.in_channels < 1 or self.n_classes < 2:
            raise ConfigError(
                found=f"{self.in_channels} channels and {self.n_classes} classes",
                needed="at least 1 channel and 2 classes, background included",
                do="correct the numbers of channels and classes",
            )
        self._check_widths()
        if self.norms == "published":
            self._check_published_norms()
        if len(self.stem_stride) != 3:
            raise ConfigError(
                found=f"a stem stride of {self.stem_stride}",
                needed="three numbers (Z, Y, X)",
                do="give one number for each axis",
            )
        self.check_patch(self.patch_size)

    def _check_widths(self) -> None:
        if not self.widths or any(w < 1 or w % (4 * self.heads) for w in self.widths):
            raise ConfigError(
                found=f"stage widths {self.widths} with {self.heads} heads",
                needed=f"widths above 0 and divisible by {4 * self.heads}",
                do="choose other widths",
            )
        if self.base_width % 4:
            raise ConfigError(
                found=f"a width of {self.base_width} at full resolution",
                needed="a multiple of 4, one part for each MFGA group",
                do="choose another base_width",
            )
        if isinstance(self.n_tokens, tuple) and len(self.n_tokens) != len(self.widths):
            raise ConfigError(
                found=f"token lengths {self.n_tokens} for stages of {self.widths}",
                needed="one for all stages, or one for each",
                do="correct n_tokens",
            )

    def _check_published_norms(self) -> None:
        """They have one group for each channel of what is downsampled."""
        if self.widths[0] % self.in_channels:
            raise ConfigError(
                found=f"{self.in_channels} channels with the published norms",
                needed=f"a number that divides {self.widths[0]}: one group a channel",
                do="leave --faithful out, or use other channels",
            )
        if any(b % a for a, b in itertools.pairwise(self.widths)):
            raise ConfigError(
                found=f"stage widths {self.widths} with the published norms",
                needed="each a multiple of the one before: one group a channel of it",
                do="choose other widths, or norms=group",
            )

    @property
    def total_stride(self) -> Triple:
        """Downsampling of the coarsest stage, ZYX."""
        return self.stage_stride(len(self.widths) - 1)

    @property
    def fixed_patch(self) -> bool:
        """Whether the weights are tied to `patch_size`."""
        return self.hfr.fixed_patch

    def stage_stride(self, stage: int) -> Triple:
        """Downsampling of an encoder stage, 0 the finest."""
        z, y, x = (s * 2**stage for s in self.stem_stride)
        return z, y, x

    def stage_size(self, stage: int) -> Triple:
        """Size of `patch_size` in an encoder stage."""
        strides = self.stage_stride(stage)
        z, y, x = (p // s for p, s in zip(self.patch_size, strides, strict=True))
        return z, y, x

    def stage_tokens(self, stage: int) -> int:
        """Length of the pooled keys and values of a stage."""
        if isinstance(self.n_tokens, int):
            return self.n_tokens
        return self.n_tokens[stage]

    def with_hfr(self, **changes: Any) -> "E2MISegConfig":
        """The same with some fields of `hfr` changed."""
        return replace(self, hfr=replace(self.hfr, **changes))

    def check_batch(self, batch_size: int) -> None:
        """Raise ConfigError if a process cannot train on this many patches at a time.

        The published norms are taken over the voxels of a batch, or of a patch.
        """
        if self.norms != "published":
            return
        coarsest = batch_size * math.prod(self.stage_size(len(self.widths) - 1))
        if coarsest < 2 or math.prod(self.patch_size) < 2:
            raise ConfigError(
                found=f"{batch_size} patch of {self.patch_size} voxels in a batch (of "
                "each process), one voxel at the coarsest stage",
                needed="two or more for the published norms",
                do="take a larger batch or patch, or norms=group",
            )

    def check_patch(self, patch_size: Sequence[int]) -> None:
        """Raise ConfigError unless the network takes patches of this size."""
        if self.fixed_patch and tuple(patch_size) != self.patch_size:
            raise ConfigError(
                found=f"a patch of {tuple(patch_size)} voxels (Z, Y, X)",
                needed=f"exactly {self.patch_size}: these weights are tied to it",
                do="keep the patch size, or train the clean form",
            )
        check_multiples(patch_size, self.total_stride)

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "E2MISegConfig":
        """Read what `to_json` wrote; ConfigError on keys or values that do not fit."""
        return read_config(cls, values)
