"""How much memory a training step needs, without taking it."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from e2miseg_core.networks import NetworkConfig, build_network

__all__ = ["activation_bytes", "training_bytes"]

MEASURED = 2  # patches: batch norms take no single one where a stage is one voxel
COPIES = 4  # weights, and of what is trained gradients and two moments


def activation_bytes(config: NetworkConfig) -> int:
    """Bytes that the backward pass of one patch in float32 keeps, weights apart.

    The network runs on torch's meta device, which computes shapes only.
    """
    return _measure(config)[0]


def training_bytes(config: NetworkConfig, batch_size: int) -> int:
    """Bytes of a training step in float32: weights, moments, activations.

    An estimate: libraries take working memory besides, mixed precision takes less.
    """
    activations, weights, trained = _measure(config)
    return batch_size * activations + weights + (COPIES - 1) * trained


@lru_cache(maxsize=16)
def _measure(config: NetworkConfig) -> tuple[int, int, int]:
    """Bytes of activations, of weights, and of the weights that are trained."""
    with torch.device("meta"):
        network = build_network(config).train()
        image = torch.zeros(MEASURED, config.in_channels, *config.patch_size)
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, Tensor] = {}  # by storage: what is saved twice is there once

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = network.forward_training(image)
    del outputs
    sizes = {key: t.untyped_storage().nbytes() for key, t in kept.items()}
    activations = sum(size for key, size in sizes.items() if key not in own)
    parts = [(p.numel() * p.element_size(), p) for p in network.parameters()]
    weights = sum(size for size, _ in parts)
    trained = sum(size for size, p in parts if p.requires_grad)
    return activations // MEASURED, weights, trained
