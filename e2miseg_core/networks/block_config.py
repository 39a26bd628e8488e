"""What the blocks of E2MISeg are made of: the switches of the specification."""

from dataclasses import dataclass
from typing import Literal

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks.reading import check_choices

__all__ = ["FIXED_TOKEN_MAPS", "HFRConfig", "MFGAConfig"]

MOST_REFINEMENTS = 16
# These are matrices with one row a voxel, and so tied to one patch size.
FIXED_TOKEN_MAPS = ("separate", "shared", "shared_matrix")


@dataclass(frozen=True, slots=True, kw_only=True)
class HFRConfig:
    """One HFR block (specification A.2); the defaults are the clean form.

    Attributes
    ----------
    branch : {"residual", "plain"}
        Convolution branch: with norms and a skip (ACDC), or with neither.
    refinements : int
        Residual blocks after the attention: 2 in ACDC and lung, 1 elsewhere.
    token_maps : str
        How N voxels become the p tokens of the spatial attention. "pooling",
        "shared_pooling": weighted means, weights computed from the voxels, separate
        or the same for keys and values. As published and tied to one patch size:
        "separate" linear maps (ACDC), one "shared" linear map (PET), one
        "shared_matrix" without bias (brain).
    spatial_query : {"rms", "unit"}
        Scale of the query of the spatial attention, for token maps that are weighted
        means: each row has a mean square of 1 over the voxels, or a length of 1 as
        published, where keys are sums. With means, a length of 1 lets the attention
        fade to a plain mean as a patch grows. Other token maps always have a length
        of 1.
    fusion : {"concat", "sum"}
        Of channel and spatial attention: each mapped to half the channels and
        concatenated, or added as they are (brain).
    qk_source : str
        What the convolution feature serves as, in place of what is mapped from the
        tokens. "conv": query and key, as published; "token": nothing (the UNETR++
        form); further ablations "conv_q", "conv_k", "conv_v", "conv_qkv". With the
        last, and token maps that are tied to a patch, nothing reads the tokens, and
        their norm learns nothing.
    conv_merge : {"attention", "add"}
        Whether it enters through the attention alone, or is added to the attention's
        refined result too.
    attention : bool
        False leaves the attention out (ablation); needs ``conv_merge="add"``.
    position : {"depthwise", "voxel"}
        Position encoding: a depthwise convolution, or as published one learned
        vector a voxel, tied to one patch size. Both start at zero.
    as_coded : bool
        Two slips of the published code: half of the linear map from the tokens is
        never read (A.8, defect 15), and the spatial attention's output is
        scrambled, voxels with channels (defect 16).
    """

    branch: Literal["residual", "plain"] = "residual"
    refinements: int = 1
    token_maps: Literal[
        "pooling", "shared_pooling", "separate", "shared", "shared_matrix"
    ] = "pooling"
    spatial_query: Literal["rms", "unit"] = "rms"
    fusion: Literal["concat", "sum"] = "concat"
    qk_source: Literal["conv", "token", "conv_q", "conv_k", "conv_v", "conv_qkv"] = (
        "conv"
    )
    conv_merge: Literal["attention", "add"] = "attention"
    attention: bool = True
    position: Literal["depthwise", "voxel"] = "depthwise"
    as_coded: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        if not 1 <= self.refinements <= MOST_REFINEMENTS:
            raise ConfigError(
                found=f"{self.refinements} refinement blocks",
                needed=f"from 1 to {MOST_REFINEMENTS}",
                do="correct the network's configuration",
            )
        unused = not self.attention or self.qk_source == "token"
        if unused and self.conv_merge == "attention":
            raise ConfigError(
                found="a convolution branch that nothing uses",
                needed='conv_merge="add" without attention or with qk_source="token"',
                do="correct the network's configuration",
            )

    @property
    def pools(self) -> bool:
        """Whether keys and values of the spatial attention are weighted means."""
        return self.token_maps not in FIXED_TOKEN_MAPS

    @property
    def fixed_patch(self) -> bool:
        """Whether the weights are tied to one patch size."""
        return (self.attention and not self.pools) or self.position == "voxel"


@dataclass(frozen=True, slots=True, kw_only=True)
class MFGAConfig:
    """MFGA (specification A.3); the defaults are the published form.

    Attributes
    ----------
    enabled : bool
        False adds the skip as it is (ablation).
    cap_dilation : bool
        Keep each axis' dilation below its size at the network's own patch: beyond
        it a kernel sees padding alone. Weights so belong to that patch.
    softmax_mask : bool
        Give the groups the coarse mask's probabilities instead of its logits.
    """

    enabled: bool = True
    cap_dilation: bool = False
    softmax_mask: bool = False
