"""The published HFR blocks against their formulas, written out step by step (A.2)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from e2miseg_core.networks.attention import PairedAttention
from e2miseg_core.networks.block_config import HFRConfig
from e2miseg_core.networks.hfr import HFRBlock, VoxelPosition

SIZE = (2, 3, 4)
N, C, HEADS, P = 24, 16, 4, 5
DEPTH = C // HEADS
BLOCKS = {
    "acdc": HFRConfig(refinements=2, token_maps="separate", position="voxel"),
    "brain": HFRConfig(
        branch="plain", token_maps="shared_matrix", fusion="sum", position="voxel"
    ),
    "pet": HFRConfig(branch="plain", token_maps="shared", position="voxel"),
}


def make_block(name: str, *, as_coded: bool) -> HFRBlock:
    """A block with random weights everywhere, so that no part is trivial."""
    torch.manual_seed(0)
    made = HFRConfig(
        **{key: getattr(BLOCKS[name], key) for key in HFRConfig.__slots__}
        | {"as_coded": as_coded}
    )
    block = HFRBlock(
        C,
        heads=HEADS,
        n_tokens=P,
        attention_dropout=0.1,
        settings=made,
        size=SIZE,
        norm=nn.BatchNorm3d,
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean)
    return block.eval()


def attention_by_hand(
    made: PairedAttention, u: Tensor, y: Tensor, *, as_coded: bool
) -> Tensor:
    """Of one sample: u (N, C) normalised tokens, y (N, C) convolution feature."""
    assert made.values is not None
    mapped = u @ made.values.weight.T  # (N, 4C) or (N, 2C)
    values_c, values_s = mapped[:, -2 * C : -C], mapped[:, -C:]
    channel, spatial = torch.empty(N, C), torch.empty(N, C)
    scrambled = torch.empty(DEPTH, HEADS, N)
    keys_map, values_map = made.pool_keys, made.pool_values or made.pool_keys
    for h in range(HEADS):
        part = slice(h * DEPTH, (h + 1) * DEPTH)
        rows = y[:, part].T  # (d, N)
        unit = rows / rows.norm(dim=1, keepdim=True)
        tau1, tau2 = (
            made.channel_temperature[h, 0, 0],
            made.spatial_temperature[h, 0, 0],
        )
        a_c = torch.softmax(tau1 * unit @ unit.T, dim=1)
        channel[:, part] = (a_c @ values_c[:, part].T).T
        pooled_keys = to_tokens(keys_map, rows)
        pooled_values = to_tokens(values_map, values_s[:, part].T)
        a_s = torch.softmax(tau2 * unit.T @ pooled_keys, dim=1)  # (N, p)
        spatial[:, part] = a_s @ pooled_values.T
        scrambled[:, h] = spatial[:, part].T
    if as_coded:
        spatial = scrambled.flatten().reshape(N, C)
    if not made.concatenates:
        return channel + spatial
    halves = [
        x @ linear.weight.T + linear.bias
        for x, linear in ((spatial, made.spatial_out), (channel, made.channel_out))
    ]
    return torch.cat(halves, dim=1)


def to_tokens(made: nn.Module | None, rows: Tensor) -> Tensor:
    """(d, N) to (d, p) by E or F."""
    if isinstance(made, nn.Linear):
        return rows @ made.weight.T + made.bias
    assert made is not None
    weight = made.weight
    assert isinstance(weight, Tensor)
    return rows @ weight


def norm_by_hand(norm: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(norm, nn.BatchNorm3d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    return x * scale[:, None, None, None] + shift[:, None, None, None]


def res_block_by_hand(block: nn.Module, x: Tensor) -> Tensor:
    parts = dict(block.named_children())
    first = norm_by_hand(parts["first_norm"], conv(parts["first"], x))
    second = norm_by_hand(parts["second_norm"], conv(parts["second"], relu(first)))
    return relu(second + x)


def conv(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv3d)
    return F.conv3d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def tokens_of(x: Tensor) -> Tensor:
    """(1, C, Z, Y, X) to (N, C)."""
    return x[0].reshape(C, N).T


def volume_of(tokens: Tensor) -> Tensor:
    return tokens.T.reshape(1, C, *SIZE)


@pytest.mark.parametrize("as_coded", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_published_block_computes_its_formulas(name: str, *, as_coded: bool) -> None:
    block = make_block(name, as_coded=as_coded)
    x = torch.randn(1, C, *SIZE)
    with torch.no_grad():
        layers = list(block.convolutions)
        if name == "acdc":
            inner = relu(norm_by_hand(layers[1], conv(layers[0], x)))
            m = x + relu(norm_by_hand(layers[4], conv(layers[3], inner)))
        else:
            m = relu(conv(layers[2], relu(conv(layers[0], x))))
        assert isinstance(block.position, VoxelPosition)
        assert block.attention is not None
        t = tokens_of(x) + block.position.offsets
        u = F.layer_norm(t, (C,), block.norm.norm.weight, block.norm.norm.bias)
        attended = attention_by_hand(
            block.attention, u, tokens_of(m), as_coded=as_coded
        )
        a = volume_of(t + block.layer_scale * attended)
        r = a
        refinements = (
            block.refinement.children() if name == "acdc" else [block.refinement]
        )
        for refinement in refinements:
            r = res_block_by_hand(refinement, r)
        z = a + conv(list(block.refinement_out)[1], r)
        expected = conv(block.out, z) + x
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BLOCKS)
def test_half_precision_changes_a_block_by_rounding_alone(name: str) -> None:
    block = make_block(name, as_coded=True)
    x = torch.randn(2, C, *SIZE)
    with torch.no_grad():
        exact = block(x)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = block(x)
    scale = exact.abs().max()
    assert (mixed.float() - exact).abs().max() < 0.05 * scale
