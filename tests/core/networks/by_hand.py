"""Steps of the networks written out from the specification, for slices and volumes.

Nothing here calls the modules under test: weights are read from them, and the
arithmetic is the specification's. Interpolation is a product with a matrix for each
axis.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from e2miseg_core.networks.blocks import LEAK
from e2miseg_core.networks.edge_head import EdgeHead
from e2miseg_core.networks.ehanet.blocks import AHFA, EFA, IEM, SideOutput
from e2miseg_core.networks.mfga import MFGA

BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics everywhere, so that no step is trivial."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            shape = parameter.shape
            std = math.sqrt(2 / shape[1:].numel()) if len(shape) > 1 else 0.5
            with torch.no_grad():
                parameter.normal_(std=std, generator=generator)
        if isinstance(module, BATCH_NORMS):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network.eval()


def resize(x: Tensor, size: tuple[int, ...], *, aligned: bool = False) -> Tensor:
    """Linear interpolation of the axes after the second to `size`."""
    for axis, length in enumerate(size, start=2):
        weights = _weights(x.shape[axis], length, aligned=aligned)
        x = torch.movedim(torch.movedim(x, axis, -1) @ weights.T, -1, axis)
    return x


def doubled(x: Tensor) -> Tensor:
    return resize(x, tuple(2 * n for n in x.shape[2:]))


def _weights(old: int, new: int, *, aligned: bool) -> Tensor:
    """Row i: what each old place counts for at the new place i."""
    weights = torch.zeros(new, old)
    for place in range(new):
        if aligned:  # first on first, last on last
            source = place * (old - 1) / max(1, new - 1)
        else:  # the places are the middles of equal cells
            source = min(max((place + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        left = min(int(source), old - 1)
        weights[place, left] += 1 - (source - left)
        if source > left:
            weights[place, left + 1] += source - left
    return weights


def norm(layer: nn.Module, x: Tensor) -> Tensor:
    """A batch norm by its stored statistics, or a group norm of each sample."""
    shape = (1, -1, *[1] * (x.dim() - 2))
    if isinstance(layer, BATCH_NORMS):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        mean, variance = (
            v.reshape(shape) for v in (layer.running_mean, layer.running_var)
        )
        normed = (x - mean) / (variance + layer.eps).sqrt()
    else:
        assert isinstance(layer, nn.GroupNorm)
        groups = x.reshape(len(x), layer.num_groups, -1)
        variance, mean = torch.var_mean(groups, -1, correction=0, keepdim=True)
        normed = ((groups - mean) / (variance + layer.eps).sqrt()).reshape(x.shape)
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    return normed * layer.weight.reshape(shape) + layer.bias.reshape(shape)


def layer_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Over the channels of each voxel, (N, C, ...)."""
    variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    shape = (1, -1, *[1] * (x.dim() - 2))
    normed = (x - mean) / (variance + layer.eps).sqrt()
    return normed * layer.weight.reshape(shape) + layer.bias.reshape(shape)


def conv(layer: nn.Module, x: Tensor, dilation: int = 1, groups: int = 1) -> Tensor:
    """A convolution of stride 1 that keeps the size."""
    assert isinstance(layer, nn.Conv2d | nn.Conv3d)
    padding = dilation * (layer.weight.shape[-1] // 2)
    made = F.conv2d if x.dim() == 4 else F.conv3d
    return made(x, layer.weight, layer.bias, 1, padding, dilation, groups)


def relu(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def leaky_relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, LEAK * x)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def layers(module: nn.Module) -> list[nn.Module]:
    return list(module.children())


def normed(module: nn.Module, x: Tensor) -> Tensor:
    """Convolution, norm, ReLU."""
    first, second, _ = layers(module)
    return relu(norm(second, conv(first, x)))


def efa(gate: EFA, x: Tensor) -> Tensor:
    pooled = x.mean(dim=(2, 3))
    around = F.pad(pooled, (1, 1))  # a vector, zero at both ends
    kernel = gate.channel_gate.weight[0, 0]
    assert kernel.shape == (3,)
    assert gate.channel_gate.bias is not None
    assert gate.place_gate.bias is None
    n = pooled.shape[1]
    mixed = gate.channel_gate.bias + sum(
        kernel[k] * around[:, k : k + n] for k in range(3)
    )
    of_channels = sigmoid(mixed)[:, :, None, None]
    return x * of_channels + x * sigmoid(conv(gate.place_gate, x))


def ahfa(step: AHFA, p: Tensor, q: Tensor) -> Tensor:
    z = torch.cat((p, doubled(normed(step.deep, q))), dim=1)
    first, first_norm, squeeze = layers(step.point)
    b1 = norm(first_norm, conv(first, z))
    _, down, _, up, _ = layers(squeeze.weight)  # type: ignore[arg-type]
    weight = sigmoid(conv(up, relu(conv(down, b1.mean((2, 3), keepdim=True)))))
    b1 = b1 * weight
    inner, inner_norm, _, outer, outer_norm = layers(step.area)
    b2 = norm(outer_norm, conv(outer, relu(norm(inner_norm, conv(inner, z)))))
    return b1 + b2


def side_output(side: SideOutput, d: Tensor) -> Tensor:
    _, first, first_norm, _, second, second_norm, _ = layers(side.weight)
    pooled = d.mean((2, 3), keepdim=True)
    hidden = relu(norm(first_norm, conv(first, pooled)))
    w = sigmoid(norm(second_norm, conv(second, hidden)))
    return conv(side.out, normed(side.transform, d) * w)


def iem(module: IEM, g1: Tensor, g2: Tensor) -> Tensor:
    def branch(path: nn.Module, x: Tensor) -> Tensor:
        first, first_norm, _, second, second_norm, _ = layers(path)
        inner = relu(norm(first_norm, conv(first, x)))
        return relu(norm(second_norm, conv(second, inner)))

    return torch.cat(
        (branch(module.fine, g1), branch(module.coarse, doubled(g2))), dim=1
    )


def edge_logits(module: IEM, e: Tensor) -> Tensor:
    upsampled = doubled(normed(module.edge_in, e))
    if isinstance(module.edge_out, nn.Sequential):
        last, last_norm = layers(module.edge_out)
        return norm(last_norm, conv(last, upsampled))
    assert module.edge_out.bias is not None  # of the clean form, in place of the norm
    return conv(module.edge_out, upsampled)


def edge_feature(module: IEM, e: Tensor) -> Tensor:
    return normed(module.feature_out, doubled(normed(module.feature_in, e)))


def final(head: nn.Module, finest: Tensor, feature: Tensor) -> Tensor:
    first, norm_1, _, second, norm_2, _, last = layers(head)
    x = torch.cat((doubled(finest), feature), dim=1)
    x = relu(norm(norm_1, conv(first, x)))
    return conv(last, relu(norm(norm_2, conv(second, x))))


def mfga(module: MFGA, x: Tensor, e: Tensor) -> Tensor:
    """A.3: coarse x, skip e."""
    up = module.upsample
    u = F.conv_transpose3d(x, up.weight, up.bias, up.stride)
    assert up.bias is None
    assert module.mask.bias is not None
    m = conv(module.mask, u)
    quarter = e.shape[1] // 4
    gathered = []
    for group, rate in enumerate((1, 2, 6, 7)):
        part = slice(group * quarter, (group + 1) * quarter)
        z = layer_norm(
            module.group_norm.norm, torch.cat((u[:, part], e[:, part], m), 1)
        )
        assert z.shape[1] == 2 * quarter + m.shape[1]
        gathered.append(conv(module.groups[group], z, rate, groups=z.shape[1]))
    assert module.out.bias is None
    return conv(module.out, layer_norm(module.norm.norm, torch.cat(gathered, 1)))


def edge_head(head: EdgeHead, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """B.4 by B.9: edge logits and edge feature of E0 and E1."""

    def branch(first: nn.Module, path: nn.Module, x: Tensor) -> Tensor:
        first_norm, _, second, second_norm, _ = layers(path)
        inner = relu(norm(first_norm, conv(first, x)))
        return relu(norm(second_norm, conv(second, inner)))

    upsampled = resize(coarse, tuple(fine.shape[2:]))
    u1 = branch(head.fine_in, head.fine, fine)
    u2 = branch(head.coarse_in, head.coarse, upsampled)
    e = torch.cat((u1, u2), 1)
    first, first_norm, _, last = layers(head.logits)
    logits = conv(last, relu(norm(first_norm, conv(first, e))))
    first, first_norm, _, second, second_norm, _ = layers(head.feature)
    inner = relu(norm(first_norm, conv(first, e)))
    return logits, relu(norm(second_norm, conv(second, inner)))
