"""First weights, and which of them a weight decay leaves alone."""

import math

from torch import nn

from e2miseg_core.networks.attention import PairedAttention
from e2miseg_core.networks.blocks import LEAK
from e2miseg_core.networks.hfr import HFRBlock

__all__ = ["initialise", "undecayed_parameters"]

LINEAR_STD = 0.02
NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm3d,
)


def initialise(network: nn.Module, rule: str, encoder: nn.Module) -> None:
    """Set the first weights (specification A.4).

    Parameters
    ----------
    network : nn.Module
        With the library's own first weights.
    rule : {"linear", "encoder_linear", "he"}
        See `E2MISegConfig.initialisation`.
    encoder : nn.Module
        The part of it that "encoder_linear" reaches.
    """
    for module in (encoder if rule == "encoder_linear" else network).modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=LINEAR_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if rule == "he":
        _initialise_convolutions(network)


def undecayed_parameters(network: nn.Module) -> frozenset[str]:
    """Names of the parameters that a weight decay should leave alone.

    Temperatures, layer scales, position encodings and norms (specification A.8,
    defect 19: the published code meant to, and decays them all); and biases.

    Parameters
    ----------
    network : nn.Module
        Any network.

    Returns
    -------
    frozenset of str
        Keys of ``network.named_parameters()``.
    """
    names = set()
    for prefix, module in network.named_modules():
        for name, _ in module.named_parameters():
            within = name.split(".")[0]
            if (
                isinstance(module, NORMS)
                or name == "bias"
                or (isinstance(module, PairedAttention) and "temperature" in within)
                or (
                    isinstance(module, HFRBlock)
                    and within in {"layer_scale", "position"}
                )
            ):
                names.add(f"{prefix}.{name}" if prefix else name)
    return frozenset(names)


def _initialise_convolutions(network: nn.Module) -> None:
    """He's rule: the variance stays the same through leaky rectifiers."""
    gain = nn.init.calculate_gain("leaky_relu", LEAK)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=LEAK)
        elif isinstance(module, nn.ConvTranspose3d):
            # Kernel = stride: each voxel is made from one, of all input channels.
            nn.init.normal_(module.weight, std=gain / math.sqrt(module.in_channels))
    for module in network.modules():
        if isinstance(module, HFRBlock) and isinstance(module.position, nn.Conv3d):
            nn.init.zeros_(module.position.weight)
