"""Parameters, multiply-adds and memory of the presets.

Networks are run on tensors that have shapes and no values, so the largest takes a
moment and no memory.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from e2miseg_core.errors import ModelError
from e2miseg_core.networks.architectures import Network, NetworkConfig, build_network
from e2miseg_core.networks.config import E2MISegConfig
from e2miseg_core.networks.hfr import HFRBlock
from e2miseg_core.networks.presets import PRESETS

__all__ = ["Cost", "network_cost", "parameter_count", "preset_costs"]

FLOAT_BYTES = 4
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a network asks of a machine, for one patch.

    Attributes
    ----------
    parameters : int
        Those that are never trained, such as a frozen encoder's, included.
    trained : int
        Parameters that training changes.
    products : int
        Multiply-adds of the convolutions and matrix products of one forward pass,
        with every supervised level; a multiplication with its addition counts once.
    norms : int
        What the norms add by the rule of fvcore, by which the published figures
        were taken: per element 5, without weights 4, batch norm 2.
    predict_bytes : int
        Most memory that tensors hold at once in that pass in float32, weights
        included. What libraries take for their own work comes on top.
    """

    parameters: int
    trained: int
    products: int
    norms: int
    predict_bytes: int

    @property
    def multiply_adds(self) -> int:
        """Of products and norms; softmax and element-wise work are not counted."""
        return self.products + self.norms


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in network.parameters())


def network_cost(config: NetworkConfig) -> Cost:
    """Everything about one network.

    Raises
    ------
    ModelError
        If a package that the network needs is not installed.
    """
    repeats = 1
    if isinstance(config, E2MISegConfig):
        # The blocks of a stage cost the same: one of them is made, and counts for all.
        repeats, config = config.blocks, replace(config, blocks=1)
    with torch.device("meta"):
        network = build_network(config)
    parameters, trained = _parameters(network, repeats)
    meter = _Meter(network.eval(), repeats)
    shape = (1, config.in_channels, *config.patch_size)
    image = torch.empty(shape, device="meta", memory_format=torch.channels_last_3d)
    with torch.no_grad(), meter:
        network.forward_training(image)
    return Cost(
        parameters=parameters,
        trained=trained,
        products=meter.products,
        norms=meter.norms,
        predict_bytes=FLOAT_BYTES * parameters + meter.most_bytes,
    )


def preset_costs() -> list[dict[str, Any]]:
    """A row for each preset and form: JSON values.

    A network whose package is not installed has a row that says so.
    """
    rows = []
    for name, preset in PRESETS.items():
        forms = {"clean": preset.config}
        if preset.published is not None:
            forms["published"] = preset.published
        for form, config in forms.items():
            row = {"preset": name, "form": form, "summary": preset.summary}
            rows.append(row | _row(config))
    return rows


def _row(config: NetworkConfig) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "in_channels": config.in_channels,
        "n_classes": config.n_classes,
        "patch_size": list(config.patch_size),
        "any_patch": not (isinstance(config, E2MISegConfig) and config.fixed_patch),
    }
    try:
        cost = network_cost(config)
    except ModelError as error:
        return facts | {"missing": str(error)}
    return facts | {
        "parameters": cost.parameters,
        "trained_parameters": cost.trained,
        "multiply_adds": cost.multiply_adds,
        "forward_megabytes": round(cost.predict_bytes / 1e6, 1),
    }


def _parameters(network: Network, repeats: int) -> tuple[int, int]:
    """All and the trained ones, each HFR block counted `repeats` times."""
    blocks = [m for m in network.modules() if isinstance(m, HFRBlock)]
    parts: list[tuple[nn.Module, int]] = [(network, 1)]
    parts += [(block, repeats - 1) for block in blocks]
    every = sum(times * parameter_count(part) for part, times in parts)
    trained = sum(
        times * p.numel()
        for part, times in parts
        for p in part.parameters()
        if p.requires_grad
    )
    return every, trained


def _normalised(x: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


# Operators whose result has the shape of their input; the library takes most of its
# time to find that out.
_SHORT_CUTS: Mapping[Any, Callable[..., Any]] = {
    torch.ops.aten.native_batch_norm: _normalised,
    torch.ops.aten.native_group_norm: _normalised,
    torch.ops.aten.native_layer_norm: _normalised,
    torch.ops.aten.leaky_relu_: lambda x, *_: x,
}


class _Meter(TorchDispatchMode):
    """Counts the work of a network that runs inside, and the bytes alive at once."""

    def __init__(self, network: nn.Module, repeats: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products = self.norms = 0
        self.most_bytes = 0
        self._bytes = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet(
            tensor.untyped_storage()
            for tensor in (*network.parameters(), *network.buffers())
        )
        for module in network.modules():
            if isinstance(module, NORMS):
                module.register_forward_hook(self._add_norm)
            elif isinstance(module, HFRBlock):
                self._repeat(module, repeats)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operator of the library and count it."""
        run = _SHORT_CUTS.get(func.overloadpacket, func)
        out = run(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.products += count(*args, **(kwargs or {}), out_val=out) // 2
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        """Count a new storage until it is freed."""
        if storage in self._seen:
            return
        self._seen.add(storage)
        self._bytes += storage.nbytes()
        self.most_bytes = max(self.most_bytes, self._bytes)
        weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self._bytes -= size

    def _add_norm(
        self, norm: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor
    ) -> None:
        batch = isinstance(norm, nn.modules.batchnorm._BatchNorm)
        weighted = norm.weight is not None
        self.norms += inputs[0].numel() * ((1 if batch else 4) + weighted)

    def _repeat(self, block: HFRBlock, times: int) -> None:
        """Let what runs in the block count several times."""
        before: list[tuple[int, int]] = []

        def note(_block: nn.Module, _inputs: object) -> None:
            before.append((self.products, self.norms))

        def multiply(_block: nn.Module, _inputs: object, _output: object) -> None:
            products, norms = before.pop()
            self.products += (times - 1) * (self.products - products)
            self.norms += (times - 1) * (self.norms - norms)

        block.register_forward_pre_hook(note)
        block.register_forward_hook(multiply)
