"""First weights (specification A.4) and what a weight decay leaves alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from e2miseg_core.networks import (
    E2MISeg,
    E2MISegConfig,
    preset_config,
    undecayed_parameters,
)


def make_network(**changes: object) -> E2MISeg:
    torch.manual_seed(0)
    config = preset_config("tiny")
    assert isinstance(config, E2MISegConfig)
    return E2MISeg(replace(config, **changes))  # type: ignore[arg-type]


def linear_std(part: nn.Module) -> float:
    weights = [m.weight.flatten() for m in part.modules() if isinstance(m, nn.Linear)]
    return torch.cat(weights).std().item()


def test_linear_maps_begin_at_two_hundredths_where_the_rule_reaches() -> None:
    everywhere, published = (
        make_network(),
        make_network(initialisation="encoder_linear"),
    )
    for part in (everywhere.encoder, everywhere.decoder, published.encoder):
        assert linear_std(part) == pytest.approx(0.02, rel=0.1)
    # The library's own: uniform in +-1/sqrt(16).
    assert linear_std(published.decoder) == pytest.approx(0.25 / 3**0.5, rel=0.1)


def test_he_keeps_the_variance_through_convolutions() -> None:
    network = make_network(initialisation="he")
    block = network.full_skip  # its second convolution: 8 to 8 channels
    expected = (2 / (1 + 0.01**2) / (27 * 8)) ** 0.5
    assert block.second.weight.std().item() == pytest.approx(expected, rel=0.1)
    up = network.upsample[1]  # 32 to 16 channels, each voxel from one
    assert isinstance(up, nn.ConvTranspose3d)
    assert up.weight.std().item() == pytest.approx((2 / 32) ** 0.5, rel=0.1)
    positions = [p for n, p in network.named_parameters() if ".position." in n]
    assert positions
    assert not any(p.any() for p in positions)


def test_decay_leaves_temperatures_scales_positions_norms_and_biases_alone() -> None:
    network = make_network()
    spared = undecayed_parameters(network)
    parameters = dict(network.named_parameters())
    assert spared < set(parameters)
    prefix = "encoder.0.0"
    assert {name for name in spared if name.startswith(prefix)} == {
        f"{prefix}.{name}"
        for name in (
            "attention.channel_temperature",
            "attention.spatial_temperature",
            "layer_scale",
            "position.weight",
            "norm.norm.weight",
            "norm.norm.bias",
            "convolutions.1.weight",
            "convolutions.1.bias",
            "convolutions.4.weight",
            "convolutions.4.bias",
            "refinement.first_norm.weight",
            "refinement.first_norm.bias",
            "refinement.second_norm.weight",
            "refinement.second_norm.bias",
            "refinement_out.1.bias",
            "attention.pool_keys.scores.bias",
            "attention.pool_values.scores.bias",
            "attention.spatial_out.bias",
            "attention.channel_out.bias",
        )
    }
    assert "stem.1.weight" in spared
    assert "aggregate.0.norm.norm.weight" in spared
    assert "heads.0.bias" in spared
    assert "heads.0.weight" not in spared
    assert not any(name.startswith("upsample") for name in spared)


def test_decay_leaves_published_positions_alone_too() -> None:
    config = preset_config("tiny")
    assert isinstance(config, E2MISegConfig)
    spared = undecayed_parameters(E2MISeg(config.with_hfr(position="voxel")))
    assert "encoder.0.0.position.offsets" in spared
