"""What a fine-tuning makes small, for networks of either kind."""

import pytest
import torch
from torch import nn

from e2miseg_core.losses import LossSettings, edge_loss, objective_of
from e2miseg_core.networks import TrainingOutputs, preset_config
from e2miseg_core.training.tuning_loss import TuningLoss, keep_statistics

CONFIG = preset_config("tiny")


def outputs(*, edges: bool, size: int = 8) -> TrainingOutputs:
    random = torch.Generator().manual_seed(1)
    levels = torch.randn(3, 2, 4, size, size, generator=random)
    return TrainingOutputs(
        levels=(levels,),
        edges=torch.randn(3, 2, 4, size, size, generator=random) if edges else None,
    )


def targets(size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    classes = torch.zeros(3, 4, size, size, dtype=torch.long)
    classes[:, 1:3, 2:6, 2:6] = 1
    return classes, torch.rand(classes.shape, generator=random) > 0.3


def test_the_edge_head_is_trained_on() -> None:
    loss = TuningLoss(CONFIG, {"edge_weight": 0.5, "edge_width": 1}, 1)
    classes, valid = targets()
    with_edges, without = outputs(edges=True), outputs(edges=False)
    assert with_edges.edges is not None
    settings = LossSettings(edge_weight=0.5, edge_width=1)
    expected = 0.5 * edge_loss(with_edges.edges, classes, settings, valid)
    difference = loss(with_edges, classes, valid) - loss(without, classes, valid)
    assert difference.item() == pytest.approx(expected.item(), rel=1e-4)
    assert expected > 0


def test_what_is_not_known_does_not_count() -> None:
    loss = TuningLoss(CONFIG, {}, 1)
    classes, valid = targets()
    told = loss(outputs(edges=True), classes, valid)
    other = torch.where(valid, classes, 1 - classes)
    assert loss(outputs(edges=True), other, valid).item() == pytest.approx(told.item())


def test_a_network_of_slices_keeps_its_own_loss() -> None:
    config = preset_config("ehanet")
    classes, valid = targets()
    maps = outputs(edges=True)
    maps = TrainingOutputs(levels=maps.levels * 5, edges=maps.edges)
    told = TuningLoss(config, {"ss_form": "paper"}, 1)(maps, classes, valid)
    expected = objective_of(config)(maps, classes, LossSettings(), valid)
    assert torch.equal(told, expected)


def test_batch_norms_keep_what_they_know() -> None:
    network = nn.Sequential(nn.BatchNorm3d(1), nn.Dropout(0.5)).train()
    keep_statistics(network)
    before = network[0].running_mean.clone()
    network(torch.ones(2, 1, 2, 2, 2))
    assert torch.equal(network[0].running_mean, before)
    assert network[1].training
