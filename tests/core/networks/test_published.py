"""The published networks: specification part C, test 2, and A.7."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks import (
    E2MISeg,
    E2MISegConfig,
    create_network,
    preset_config,
)
from e2miseg_core.networks.blocks import ResBlock
from e2miseg_core.networks.cost import network_cost, parameter_count
from e2miseg_core.networks.hfr import HFRBlock

PUBLISHED = ("acdc", "brain", "pet", "lung")
GIGA_MULTIPLY_ADDS = {"acdc": 60.9, "brain": 100.5, "pet": 70.9}
# Scales of deep supervision, A.7.
LEVELS = {
    "acdc": [(16, 160, 160), (16, 40, 40), (8, 20, 20)],
    "brain": [(128, 128, 128), (32, 32, 32), (16, 16, 16)],
    "pet": [(64, 128, 128), (32, 32, 32), (16, 16, 16)],
    "lung": [(32, 192, 192), (32, 48, 48), (16, 24, 24)],
}


ConfigOf = Callable[..., E2MISegConfig]
Shrunken = Callable[[E2MISegConfig], E2MISegConfig]


def on_meta(config: E2MISegConfig) -> E2MISeg:
    """The full network, with shapes and no values."""
    with torch.device("meta"):
        return E2MISeg(config)


@pytest.mark.parametrize("name", GIGA_MULTIPLY_ADDS)
def test_multiply_adds_are_the_published_ones(name: str, config_of: ConfigOf) -> None:
    config = config_of(name, faithful=True)
    cost = network_cost(config)
    assert round(cost.multiply_adds / 1e9, 1) == GIGA_MULTIPLY_ADDS[name]
    assert cost.parameters == parameter_count(on_meta(config))


@pytest.mark.parametrize("faithful", [True, False])
@pytest.mark.parametrize("name", LEVELS)
def test_levels_have_the_sizes_of_the_table(
    name: str, config_of: ConfigOf, *, faithful: bool
) -> None:
    config = replace(config_of(name, faithful=faithful), blocks=1)
    network = on_meta(config)
    image = torch.empty(1, config.in_channels, *config.patch_size, device="meta")
    with torch.no_grad():
        outputs = network.forward_training(image)
        plain = network.eval()(image)
    assert outputs.edges is None
    assert [tuple(level.shape[2:]) for level in outputs.levels] == LEVELS[name]
    assert {level.shape[1] for level in outputs.levels} == {config.n_classes}
    assert plain.shape == (1, config.n_classes, *config.patch_size)


@pytest.mark.parametrize("faithful", [True, False])
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_parameter_is_used(
    name: str, config_of: ConfigOf, shrunken: Shrunken, *, faithful: bool
) -> None:
    torch.manual_seed(0)
    config = shrunken(config_of(name, faithful=faithful))
    network = E2MISeg(config)
    for module in network.modules():
        # So that nothing drowns in rounding.
        if isinstance(module, HFRBlock):
            nn.init.ones_(module.layer_scale)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    image = torch.randn(2, config.in_channels, *config.patch_size)
    levels = network.forward_training(image).levels
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    for key, parameter in network.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, key
        assert torch.isfinite(gradient).all(), key
        if key.endswith("attention.values.weight") and faithful:
            # Defect 15: queries and keys are mapped and never read.
            dead, gradient = gradient.chunk(2)
            assert not dead.any(), key
        if not key.endswith("scores.bias"):  # a softmax takes it out again
            assert gradient.abs().max() > 1e-9, key


# Of A.2, A.4 and A.7: branch, refinements, token maps, fusion, attention dropout.
TABLE = {
    "acdc": ("residual", 2, "separate", "concat", 0.1),
    "brain": ("plain", 1, "shared_matrix", "sum", 0.1),
    "pet": ("plain", 1, "shared", "concat", 0.15),
    "lung": ("residual", 2, "separate", "concat", 0.1),
}


@pytest.mark.parametrize("name", TABLE)
def test_published_numbers_are_those_of_the_tables(
    name: str, config_of: ConfigOf
) -> None:
    config = config_of(name, faithful=True)
    hfr = config.hfr
    found = (hfr.branch, hfr.refinements, hfr.token_maps, hfr.fusion)
    assert (*found, config.attention_dropout) == TABLE[name]
    assert (config.heads, config.blocks, config.base_width) == (4, 3, 16)
    assert config.widths == (32, 64, 128, 256)
    assert config.n_tokens == (64, 64, 64, 32)
    assert config.initialisation == "encoder_linear"
    assert (hfr.qk_source, hfr.conv_merge) == ("conv", "attention")
    network = on_meta(replace(config, blocks=1))
    for block in network.modules():
        if isinstance(block, HFRBlock):
            assert block.attention is not None
            assert block.attention.dropout.p == TABLE[name][-1]
            rates = [m.p for m in block.modules() if isinstance(m, nn.Dropout3d)]
            assert rates == [0.1]


def test_published_norms_are_where_the_specification_has_them(
    config_of: ConfigOf,
) -> None:
    network = on_meta(config_of("brain", faithful=True))
    stem, down = network.stem[1], list(network.downsample[1].children())[1]
    assert isinstance(stem, nn.GroupNorm)
    assert isinstance(down, nn.GroupNorm)
    assert (stem.num_groups, down.num_groups) == (4, 64)
    full = network.full_skip.first_norm
    assert isinstance(full, nn.InstanceNorm3d)
    assert not full.affine
    blocks = [m for m in network.modules() if isinstance(m, HFRBlock)]
    assert len(blocks) == 3 * (4 + 3)
    for block in blocks:
        assert isinstance(block.refinement, ResBlock)
        assert isinstance(block.refinement.first_norm, nn.BatchNorm3d)
        assert not any(isinstance(m, nn.BatchNorm3d) for m in block.convolutions)


def test_published_weights_refuse_other_patches_in_one_line(
    config_of: ConfigOf, shrunken: Shrunken
) -> None:
    config = shrunken(config_of("pet", faithful=True))
    network = E2MISeg(config).eval()
    z, y, x = config.patch_size
    with pytest.raises(ConfigError, match=r"exactly .*: these weights are tied"):
        network(torch.zeros(1, 1, 2 * z, y, x))


def test_the_clean_form_of_each_takes_any_patch_that_the_strides_divide(
    config_of: ConfigOf, shrunken: Shrunken
) -> None:
    for name in PUBLISHED:
        config = shrunken(config_of(name, faithful=False))
        patch = tuple(
            s * f for s, f in zip(config.total_stride, (3, 1, 2), strict=True)
        )
        with torch.no_grad():
            logits = E2MISeg(config).eval()(torch.zeros(1, config.in_channels, *patch))
        assert logits.shape[2:] == patch


def test_what_was_never_published_has_no_published_form() -> None:
    with pytest.raises(ConfigError, match=r"'small'.*acdc, brain, pet, lung"):
        create_network("small", in_channels=1, n_classes=2, faithful=True)


def test_published_norms_need_a_number_of_channels_that_divides_the_groups() -> None:
    with pytest.raises(ConfigError, match="3 channels with the published norms"):
        preset_config("acdc", faithful=True, in_channels=3)


def test_published_configurations_survive_json(config_of: ConfigOf) -> None:
    for name in PUBLISHED:
        config = config_of(name, faithful=True)
        stored = json.loads(json.dumps(config.to_json()))
        assert E2MISegConfig.from_json(stored) == config
