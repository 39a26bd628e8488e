"""The optimiser of a recipe, and the moving average of the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from e2miseg_core.networks import undecayed_parameters
from e2miseg_core.training.recipe import Recipe

__all__ = ["WeightAverage", "average_decay", "make_optimizer", "parameter_groups"]


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that are trained."""
    groups = parameter_groups(network, recipe)
    rate = recipe.learning_rate
    if recipe.optimizer == "sgd":
        momentum = recipe.momentum
        return torch.optim.SGD(groups, rate, momentum, nesterov=momentum > 0)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate)


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Trained parameters, those that decay first.

    Notes
    -----
    Unless `decay_all`, norms, biases, layer scales, temperatures and positions do not
    decay; see `undecayed_parameters`.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    names = frozenset() if recipe.decay_all else undecayed_parameters(network)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (spared if name in names else decayed).append(parameter)
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay}
    ]
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0})
    return groups


def average_decay(largest: float, updates: int) -> float:
    """Decay of a moving average after n updates: min(largest, (1 + n) / (10 + n)).

    The average reaches over the last ninth of what was done, until `largest` limits it;
    so a short run is averaged over a part of itself, too.
    """
    return min(largest, (1 + updates) / (10 + updates))


class WeightAverage:
    """A moving average of a network's weights and buffers.

    Parameters
    ----------
    network : nn.Module
        Begins the average.
    largest : float
        Decay that is reached late in a long run.

    Attributes
    ----------
    updates : int
        How often `update` was called.
    """

    def __init__(self, network: nn.Module, largest: float) -> None:
        self.largest = largest
        self.updates = 0
        self._tensors = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Go a part of the way to the present weights."""
        share = 1 - average_decay(self.largest, self.updates)
        self.updates += 1
        means, values = [], []
        for name, value in network.state_dict().items():
            mean = self._tensors[name]
            if mean.is_floating_point():
                means.append(mean)
                values.append(value.detach())
            else:  # counters
                mean.copy_(value)
        torch._foreach_lerp_(means, values, share)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by their names in the network's own state."""
        return dict(self._tensors)

    def load_state_dict(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a saved average; KeyError if it is of another network."""
        for name, mean in self._tensors.items():
            mean.copy_(tensors[name])
        self.updates = updates
