"""Laws of the HFR block: specification A.2; part C, test 3."""

import pytest
import torch
from torch import nn

from e2miseg_core.networks.block_config import HFRConfig
from e2miseg_core.networks.hfr import HFRBlock, VoxelPosition


def make_block(channels: int = 16) -> HFRBlock:
    torch.manual_seed(0)
    return HFRBlock(channels, heads=4, n_tokens=5, attention_dropout=0.0).eval()


SIZE = (4, 5, 6)
VARIANTS = [
    HFRConfig(),
    HFRConfig(branch="plain", token_maps="shared", fusion="sum", position="voxel"),
    HFRConfig(refinements=2, token_maps="separate", as_coded=True),
    HFRConfig(qk_source="token", conv_merge="add", token_maps="shared_pooling"),
    HFRConfig(qk_source="conv_v", token_maps="shared_matrix"),
    HFRConfig(qk_source="conv_qkv"),
    HFRConfig(attention=False, conv_merge="add"),
]


def make_variant(settings: HFRConfig) -> HFRBlock:
    torch.manual_seed(0)
    return HFRBlock(
        16, heads=4, n_tokens=5, attention_dropout=0.0, settings=settings, size=SIZE
    ).eval()


@pytest.mark.parametrize("settings", VARIANTS)
def test_every_variant_is_the_identity_without_its_last_convolution(
    settings: HFRConfig,
) -> None:
    block = make_variant(settings)
    nn.init.zeros_(block.out.weight)
    x = torch.randn(2, 16, *SIZE)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize("settings", VARIANTS)
def test_every_variant_uses_every_parameter(settings: HFRConfig) -> None:
    block = make_variant(settings)
    for module in block.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    if block.attention is not None:
        nn.init.ones_(block.layer_scale)
    block(torch.randn(2, 16, *SIZE)).square().mean().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("scores.bias"):  # a softmax takes it out again
            assert parameter.grad.abs().max() > 1e-9, name


def test_the_added_convolution_enters_before_the_last_map() -> None:
    x = torch.randn(1, 16, *SIZE)
    apart = make_variant(HFRConfig())
    added = make_variant(HFRConfig(conv_merge="add"))
    added.load_state_dict(apart.state_dict())
    with torch.no_grad():
        expected = apart(x) + apart.out(x + apart.convolutions(x))
        torch.testing.assert_close(added(x), expected, rtol=1e-4, atol=1e-5)


def test_the_plain_branch_has_neither_norm_nor_skip() -> None:
    settings = HFRConfig(branch="plain", attention=False, conv_merge="add")
    block, x = make_variant(settings), torch.randn(1, 16, *SIZE)
    layers = list(block.convolutions)
    for layer, kind in zip(layers, [nn.Conv3d, nn.LeakyReLU] * 2, strict=True):
        assert isinstance(layer, kind)
    with torch.no_grad():
        before = block(x)
        for layer in block.convolutions:
            if isinstance(layer, nn.Conv3d):
                layer.weight.zero_()
        change = before - block(x)
        assert change.abs().max() > 1e-3
        block = make_variant(settings)
        torch.testing.assert_close(
            change, block.out(block.convolutions(x)), rtol=1e-4, atol=1e-5
        )


def test_a_learned_position_is_added_to_its_own_voxel() -> None:
    position = VoxelPosition(2, (2, 3, 4))
    nn.init.zeros_(position.offsets)
    with torch.no_grad():
        position.offsets[1 * 12 + 2 * 4 + 3, 1] = 5.0  # voxel (1, 2, 3), channel 1
    added = position(torch.zeros(3, 2, 2, 3, 4))
    assert added.shape == (1, 2, 2, 3, 4)
    assert added[0, 1, 1, 2, 3] == 5
    assert added.count_nonzero() == 1


def test_without_its_last_convolution_the_block_is_the_identity() -> None:
    block = make_block()
    torch.nn.init.zeros_(block.out.weight)
    x = torch.randn(2, 16, 4, 5, 6)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_attention_changes_the_result_by_the_order_of_the_layer_scale() -> None:
    block, x = make_block(), torch.randn(1, 16, 4, 5, 6)
    with torch.no_grad():
        as_started = block(x)
        block.layer_scale.zero_()
        without = block(x)
        block.layer_scale.fill_(1.0)
        change_at_one = (block(x) - without).abs().max()
    change = (as_started - without).abs().max()
    assert 0 < change < 1e-5
    assert change_at_one > 1e-3  # the law is about the scale, not about dead attention


def test_position_encoding_starts_at_zero() -> None:
    assert not any(p.any() for p in make_block().position.parameters())
