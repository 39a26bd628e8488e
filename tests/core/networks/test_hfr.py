"""Laws of the HFR block: specification part C, tests 3 and 4, for the clean form."""

import torch

from e2miseg_core.networks.hfr import HFRBlock, PairedAttention, TokenPooling


def make_block(channels: int = 16) -> HFRBlock:
    torch.manual_seed(0)
    return HFRBlock(channels, heads=4, n_tokens=5, attention_dropout=0.0).eval()


def make_attention(channels: int = 16) -> PairedAttention:
    torch.manual_seed(1)
    return PairedAttention(channels, heads=4, n_tokens=5, dropout=0.0).eval()


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


def test_attention_is_equivariant_to_a_permutation_of_the_voxels() -> None:
    attention = make_attention()
    tokens, features = torch.randn(2, 30, 16), torch.randn(2, 30, 16)
    order = torch.randperm(30)
    with torch.no_grad():
        straight = attention(tokens, features)[:, order]
        permuted = attention(tokens[:, order], features[:, order])
    torch.testing.assert_close(permuted, straight, rtol=1e-5, atol=1e-6)


def test_joining_heads_undoes_splitting_them() -> None:
    attention, tokens = make_attention(), torch.randn(2, 7, 16)
    torch.testing.assert_close(attention._join(attention._split(tokens)), tokens)


def test_channel_attention_matches_the_formula_written_out() -> None:
    attention = make_attention(channels=4)
    attention.heads = 1
    features, values = torch.randn(1, 6, 4), torch.randn(1, 6, 4)
    with torch.no_grad():
        attention.channel_temperature.data = torch.full((1, 1, 1), 0.7)
        normalised = torch.nn.functional.normalize(attention._split(features), dim=-1)
        found = attention._channel_attention(normalised, attention._split(values))
    rows = features[0].T  # (d, N): one channel a row
    rows = rows / rows.norm(dim=1, keepdim=True)
    expected = torch.softmax(0.7 * rows @ rows.T, dim=1) @ values[0].T
    torch.testing.assert_close(found[0, 0], expected)


def test_spatial_attention_matches_the_formula_written_out() -> None:
    attention = make_attention(channels=4)
    normalised, keys, values = (
        torch.randn(1, 1, 4, 6),
        torch.randn(1, 1, 4, 3),
        torch.randn(1, 1, 4, 3),
    )
    attention.spatial_temperature.data = torch.full((1, 1, 1), 1.3)
    with torch.no_grad():
        found = attention._spatial_attention(normalised, keys, values)
    weights = torch.softmax(1.3 * normalised[0, 0].T @ keys[0, 0], dim=1)  # (N, p)
    torch.testing.assert_close(found[0, 0].T, weights @ values[0, 0].T)


def test_pooling_weights_sum_to_one_whatever_the_number_of_voxels() -> None:
    pooling = TokenPooling(8, 3)
    for n_voxels in (1, 10, 1000):
        weights = pooling(torch.randn(2, n_voxels, 8))
        assert weights.shape == (2, n_voxels, 3)
        torch.testing.assert_close(weights.sum(1), torch.ones(2, 3))


def test_position_encoding_starts_at_zero() -> None:
    assert not make_block().position.weight.any()
