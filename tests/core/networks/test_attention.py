"""Laws of the paired attention: specification A.2; part C, test 4."""

import pytest
import torch
from torch import Tensor, nn

from e2miseg_core.networks.attention import SERVED, PairedAttention
from e2miseg_core.networks.block_config import HFRConfig
from e2miseg_core.networks.token_maps import TokenMatrix, TokenPooling

N_VOXELS = 30


def make_attention(
    channels: int = 16, settings: HFRConfig | None = None
) -> PairedAttention:
    torch.manual_seed(1)
    return PairedAttention(
        channels, heads=4, n_tokens=5, dropout=0.0, settings=settings, size=(2, 3, 5)
    ).eval()


def permute_rows(module: nn.Module | None, order: Tensor) -> None:
    """Permute the rows of E or F that belong to the voxels."""
    if isinstance(module, TokenMatrix):
        module.weight.data = module.weight.data[order]
    elif isinstance(module, nn.Linear):
        module.weight.data = module.weight.data[:, order]


@pytest.mark.parametrize("token_maps", ["separate", "shared", "shared_matrix"])
@pytest.mark.parametrize("fusion", ["concat", "sum"])
@pytest.mark.parametrize("as_coded", [False, True])
def test_published_maps_are_equivariant_unless_their_output_is_scrambled(
    token_maps: str, fusion: str, *, as_coded: bool
) -> None:
    settings = HFRConfig(token_maps=token_maps, fusion=fusion, as_coded=as_coded)  # type: ignore[arg-type]
    attention = make_attention(settings=settings)
    for part in attention.modules():
        if isinstance(part, nn.Linear):  # so that the scrambled part counts
            nn.init.normal_(part.weight, std=0.5)
    tokens, features = torch.randn(2, N_VOXELS, 16), torch.randn(2, N_VOXELS, 16)
    order = torch.randperm(N_VOXELS)
    with torch.no_grad():
        straight = attention(tokens, features)[:, order]
        permute_rows(attention.pool_keys, order)
        permute_rows(attention.pool_values, order)
        difference = attention(tokens[:, order], features[:, order]) - straight
    assert bool(difference.abs().max() > 1e-2) == as_coded
    assert as_coded or difference.abs().max() < 1e-4


def test_scrambling_is_the_published_permutation() -> None:
    attention = make_attention(channels=4)  # 4 heads of 1 channel
    batch, heads, depth, length = 1, 2, 3, 5
    x = torch.arange(batch * heads * depth * length).reshape(1, heads, depth, length)
    found = attention._scramble(x)
    # (B, d, h, N) in memory order, cut into rows of C = 6.
    listed = [int(x[0, h, d, n]) for d in range(3) for h in range(2) for n in range(5)]
    expected = torch.tensor([listed[row * 6 : row * 6 + 6] for row in range(length)])
    assert torch.equal(found[0], expected)
    assert not torch.equal(found, attention._join(x))


@pytest.mark.parametrize("source", SERVED)
def test_the_convolution_serves_as_what_its_name_says(source: str) -> None:
    """Which inputs the result depends on, found by changing one at a time."""
    # The same token maps for both, so that only the roles differ; with fixed maps the
    # tokens count as nothing else.
    settings = HFRConfig(qk_source=source, conv_merge="add", token_maps="separate")  # type: ignore[arg-type]
    attention = make_attention(settings=settings)
    linear = attention.values
    roles = ("query", "key", "channel_values", "spatial_values")
    mapped = [role for role in roles if role not in SERVED[source]]
    assert (0 if linear is None else linear.out_features) == 16 * len(mapped)
    tokens, features = torch.randn(1, N_VOXELS, 16), torch.randn(1, N_VOXELS, 16)
    with torch.no_grad():
        parts = attention._parts(tokens, features)
        for role in roles:
            if role in mapped:
                assert linear is not None
                rows = linear.weight.chunk(len(mapped))[mapped.index(role)]
                expected = attention._split(tokens @ rows.T)
            else:
                expected = attention._split(features)
            torch.testing.assert_close(parts[role], expected, rtol=1e-4, atol=1e-5)
        result = attention(tokens, features)
        uses_features = not torch.equal(attention(tokens, features + 1), result)
        uses_tokens = not torch.equal(attention(tokens + 1, features), result)
    assert (uses_tokens, uses_features) == (bool(mapped), bool(SERVED[source]))


def test_dead_half_is_mapped_and_never_read() -> None:
    attention = make_attention(settings=HFRConfig(as_coded=True))
    assert attention.values is not None
    assert attention.values.out_features == 4 * 16
    tokens, features = torch.randn(1, N_VOXELS, 16), torch.randn(1, N_VOXELS, 16)
    with torch.no_grad():
        before = attention(tokens, features)
        attention.values.weight[: 2 * 16] += 1
        torch.testing.assert_close(attention(tokens, features), before, rtol=0, atol=0)
        attention.values.weight[2 * 16 :] += 1
        assert not torch.equal(attention(tokens, features), before)


def test_sums_need_no_output_maps() -> None:
    attention = make_attention(settings=HFRConfig(fusion="sum"))
    assert not hasattr(attention, "spatial_out")
    tokens, features = torch.randn(1, N_VOXELS, 16), torch.randn(1, N_VOXELS, 16)
    with torch.no_grad():
        total = attention(tokens, features)
        # Without the values of one of them, the other alone is left.
        assert attention.values is not None
        whole = attention.values.weight.clone()
        attention.values.weight[:16] = 0
        spatial = attention(tokens, features)
        attention.values.weight.copy_(whole)
        attention.values.weight[16:] = 0
        torch.testing.assert_close(attention(tokens, features) + spatial, total)


def test_the_matrix_begins_uniform_within_one_over_the_root_of_its_tokens() -> None:
    torch.manual_seed(0)
    weight = TokenMatrix(1000, 16).weight
    assert weight.abs().max() <= 0.25
    assert weight.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.02)


def test_attention_is_equivariant_to_a_permutation_of_the_voxels() -> None:
    attention = make_attention()
    tokens, features = torch.randn(2, 30, 16), torch.randn(2, 30, 16)
    order = torch.randperm(30)
    with torch.no_grad():
        straight = attention(tokens, features)[:, order]
        permuted = attention(tokens[:, order], features[:, order])
    torch.testing.assert_close(permuted, straight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("token_maps", ["pooling", "shared_pooling"])
def test_attention_does_not_fade_as_a_patch_grows(token_maps: str) -> None:
    """The same voxels a hundred times over attend as they did alone."""
    tokens, features = torch.randn(1, 20, 16), torch.randn(1, 20, 16)
    differences = {}
    for query in ("rms", "unit"):
        settings = HFRConfig(token_maps=token_maps, spatial_query=query)  # type: ignore[arg-type]
        attention = make_attention(settings=settings)
        for part in attention.modules():
            if isinstance(part, nn.Linear):  # so that the tokens differ
                nn.init.normal_(part.weight)
        with torch.no_grad():
            alone = attention(tokens, features).repeat(1, 100, 1)
            many = attention(tokens.repeat(1, 100, 1), features.repeat(1, 100, 1))
        differences[query] = float((many - alone).abs().max())
    assert differences["rms"] < 1e-3
    assert differences["unit"] > 0.1


@pytest.mark.parametrize("query", ["rms", "unit"])
def test_the_scale_of_the_query_is_as_set(query: str) -> None:
    settings = HFRConfig(spatial_query=query)  # type: ignore[arg-type]
    attention = make_attention(channels=4, settings=settings)
    normalised = torch.nn.functional.normalize(torch.randn(1, 1, 4, 9), dim=-1)
    keys, values = torch.randn(1, 1, 4, 3), torch.randn(1, 1, 4, 3)
    attention.spatial_temperature.data = torch.full((1, 1, 1), 1.3)
    with torch.no_grad():
        found = attention._spatial_attention(normalised, keys, values)
    rows = normalised[0, 0] * (3 if query == "rms" else 1)  # 3 = sqrt(9)
    weights = torch.softmax(1.3 * rows.T @ keys[0, 0], dim=1)
    torch.testing.assert_close(found[0, 0].T, weights @ values[0, 0].T)


def test_published_maps_keep_a_query_of_length_one() -> None:
    assert not make_attention(settings=HFRConfig(token_maps="separate")).spreads_query


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
        found = attention._channel_attention(
            normalised, normalised, attention._split(values)
        )
    rows = features[0].T  # (d, N): one channel a row
    rows = rows / rows.norm(dim=1, keepdim=True)
    expected = torch.softmax(0.7 * rows @ rows.T, dim=1) @ values[0].T
    torch.testing.assert_close(found[0, 0], expected)


def test_pooling_weights_sum_to_one_whatever_the_number_of_voxels() -> None:
    pooling = TokenPooling(8, 3)
    for n_voxels in (1, 10, 1000):
        weights = pooling.weights(torch.randn(2, n_voxels, 8))
        assert weights.shape == (2, n_voxels, 3)
        torch.testing.assert_close(weights.sum(1), torch.ones(2, 3))
