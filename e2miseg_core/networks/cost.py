"""Parameters, multiply-adds and memory of the presets."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from e2miseg_core.networks.e2miseg import E2MISeg
from e2miseg_core.networks.presets import PRESETS

__all__ = ["multiply_adds", "parameter_count", "preset_costs"]


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in network.parameters())


def multiply_adds(network: E2MISeg) -> int:
    """Multiply-adds of one patch, without norms and element-wise work.

    Convolutions and matrix products only, deep-supervision heads left out.
    """
    with torch.device("meta"):
        twin = E2MISeg(network.config).eval()
        image = _patch(twin)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        twin(image)
    return int(counter.get_total_flops()) // 2


def preset_costs() -> list[dict[str, Any]]:
    """A row for each preset, for one channel and two classes: JSON values."""
    rows = []
    for name, preset in PRESETS.items():
        with torch.device("meta"):
            network = E2MISeg(preset.config).eval()
        rows.append(
            {
                "preset": name,
                "summary": preset.summary,
                "parameters": parameter_count(network),
                "multiply_adds": multiply_adds(network),
                "patch_size": list(preset.config.patch_size),
                "forward_megabytes": _largest_outputs(network) / 1e6,
            }
        )
    return rows


def _patch(network: E2MISeg) -> Tensor:
    return torch.zeros(1, network.config.in_channels, *network.config.patch_size)


def _largest_outputs(network: E2MISeg) -> int:
    """Bytes of the float32 activations of the full-resolution stage.

    What is alive at once in the last decoder level: an estimate of the memory of one
    forward pass, weights apart.
    """
    sizes: list[int] = []

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * output.element_size())

    handles = [
        module.register_forward_hook(note)
        for module in network.modules()
        if not list(module.children())
    ]
    with torch.device("meta"), torch.no_grad():
        network(_patch(network))
    for handle in handles:
        handle.remove()
    return sum(sorted(sizes)[-12:])
