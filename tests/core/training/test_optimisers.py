"""Optimisers, what decays, and the moving average of weights by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from e2miseg_core.networks import build_network, preset_config
from e2miseg_core.training.optimisers import (
    WeightAverage,
    average_decay,
    make_optimizer,
    parameter_groups,
)
from e2miseg_core.training.recipe import Recipe

SGD = Recipe(epochs=1, iterations=1, optimizer="sgd", weight_decay=0.1)


def test_only_what_is_trained_is_optimised() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(requires_grad=False)
    optimizer = make_optimizer(network, SGD)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2]


def test_sgd_makes_the_published_step() -> None:
    """Nesterov: v = g + 0.99 v, step = g + 0.99 v, with decay in g."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 2.0)
    recipe = Recipe(
        epochs=1, iterations=1, optimizer="sgd", learning_rate=0.1, weight_decay=0.5
    )
    optimizer = make_optimizer(network, recipe)
    expected, velocity = 2.0, 0.0
    for gradient in (1.0, -3.0):
        network.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        decayed = gradient + 0.5 * expected
        velocity = decayed + (0.99 * velocity if velocity else 0.0)
        expected -= 0.1 * (decayed + 0.99 * velocity)
        assert network.weight.item() == pytest.approx(expected, rel=1e-6)


def test_what_has_no_direction_does_not_decay() -> None:
    network = build_network(preset_config("tiny"))
    recipe = Recipe(epochs=1, iterations=1, decay_all=False, weight_decay=0.1)
    decayed, spared = parameter_groups(network, recipe)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    groups = {
        name: any(parameter is p for p in spared["params"])
        for name, parameter in network.named_parameters()
    }
    assert len(groups) == len(decayed["params"]) + len(spared["params"])
    for name, is_spared in groups.items():
        small = name.endswith("bias") or "norm" in name or "temperature" in name
        if small or "layer_scale" in name or "position" in name:
            assert is_spared, name
        if "heads" in name and name.endswith("weight"):
            assert not is_spared, name


def test_the_average_of_weights_by_hand() -> None:
    network = nn.BatchNorm1d(1, affine=True)
    average = WeightAverage(network, 0.5)
    mean = 1.0
    for number, value in enumerate((2.0, 4.0, -1.0)):
        nn.init.constant_(network.weight, value)
        network.num_batches_tracked += 1
        average.update(network)
        decay = min(0.5, (1 + number) / (10 + number))
        mean = decay * mean + (1 - decay) * value
        assert average.state_dict()["weight"].item() == pytest.approx(mean)
    assert average.state_dict()["num_batches_tracked"].item() == 3
    assert average.updates == 3


def test_the_average_adapts_to_short_runs() -> None:
    assert average_decay(0.999, 0) == 0.1
    assert average_decay(0.999, 80) == 0.9
    assert average_decay(0.999, 100_000) == 0.999


def test_an_average_goes_on_where_it_was_saved() -> None:
    network = nn.Linear(2, 1)
    first, second = (WeightAverage(network, 0.9) for _ in range(2))
    nn.init.constant_(network.weight, 3.0)
    first.update(network)
    second.load_state_dict(first.state_dict(), first.updates)
    nn.init.constant_(network.weight, -1.0)
    for average in (first, second):
        average.update(network)
    assert torch.equal(first.state_dict()["weight"], second.state_dict()["weight"])


def test_sgd_without_momentum_is_plain() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 2.0)
    plain = replace(SGD, momentum=0.0, weight_decay=0.0, learning_rate=0.5)
    optimizer = make_optimizer(network, plain)
    for _ in range(2):
        network.weight.grad = torch.tensor([[1.0]])
        optimizer.step()
    assert network.weight.item() == 1.0
