"""The configuration of an E2MISeg network."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from e2miseg_core.errors import ConfigError

__all__ = ["E2MISegConfig"]

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class E2MISegConfig:
    """Everything that fixes the shape of an E2MISeg network.

    Attributes
    ----------
    in_channels, n_classes : int
        `n_classes` counts the background.
    patch_size : tuple of 3 int
        Patch (ZYX, voxels) for training and prediction; each axis divisible by
        `total_stride`. The weights accept any other divisible patch as well.
    stem_stride : tuple of 3 int
        Kernel and stride of the stem, ZYX.
    base_width : int
        Channels at full resolution, divisible by 4.
    widths : tuple of int
        Channels of the encoder stages, finest first.
    blocks : int
        HFR blocks in each stage of encoder and decoder.
    heads, n_tokens : int
        Attention heads, and length of the pooled keys and values.
    attention_dropout : float
        Rate on the attention maps.
    """

    in_channels: int
    n_classes: int
    patch_size: Triple
    stem_stride: Triple = (2, 2, 2)
    base_width: int = 16
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: int = 3
    heads: int = 4
    n_tokens: int = 64
    attention_dropout: float = 0.1

    def __post_init__(self) -> None:
        counts = (self.heads, self.n_tokens, self.blocks, self.base_width)
        if min(*counts, *self.stem_stride) < 1 or not 0 <= self.attention_dropout < 1:
            raise ConfigError(
                found=f"heads, tokens, blocks, width {counts}, stem stride "
                f"{self.stem_stride}, dropout {self.attention_dropout}",
                needed="at least 1 each, and a dropout from 0 to below 1",
                do="correct the configuration",
            )
        if self.in_channels < 1 or self.n_classes < 2:
            raise ConfigError(
                found=f"{self.in_channels} channels and {self.n_classes} classes",
                needed="at least 1 channel and 2 classes, background included",
                do="correct the numbers of channels and classes",
            )
        if not self.widths or any(w % (4 * self.heads) for w in self.widths):
            raise ConfigError(
                found=f"stage widths {self.widths} with {self.heads} heads",
                needed=f"widths divisible by {4 * self.heads}",
                do="choose other widths",
            )
        if self.base_width % 4:
            raise ConfigError(
                found=f"a width of {self.base_width} at full resolution",
                needed="a multiple of 4, one part for each MFGA group",
                do="choose another base_width",
            )
        self.check_patch(self.patch_size)

    @property
    def total_stride(self) -> Triple:
        """Downsampling of the coarsest stage, ZYX."""
        factor = 2 ** (len(self.widths) - 1)
        z, y, x = (s * factor for s in self.stem_stride)
        return z, y, x

    def check_patch(self, patch_size: tuple[int, ...]) -> None:
        """Raise ConfigError unless every axis is a multiple of the total stride."""
        stride = self.total_stride
        if all(p > 0 and p % s == 0 for p, s in zip(patch_size, stride, strict=True)):
            return
        fitting = tuple(
            max(1, math.ceil(p / s)) * s
            for p, s in zip(patch_size, stride, strict=True)
        )
        raise ConfigError(
            found=f"a patch of {tuple(patch_size)} voxels (Z, Y, X)",
            needed=f"multiples of {stride}",
            do=f"take for example {fitting}",
        )

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "E2MISegConfig":
        """Read what `to_json` wrote; ConfigError on unknown or missing keys."""
        known = {f.name for f in fields(cls)}
        required = {f.name for f in fields(cls) if f.default is MISSING}
        if not required <= set(values) <= known:
            raise ConfigError(
                found=f"a network configuration with the keys {sorted(values)}",
                needed=f"keys out of {sorted(known)}",
                do="open the model with the version that wrote it, or newer",
            )
        # JSON knows no tuples.
        read: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**read)
