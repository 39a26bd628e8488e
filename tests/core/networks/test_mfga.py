"""Laws of MFGA: specification A.3 and part C, test 5."""

from types import ModuleType

import pytest
import torch

from e2miseg_core.networks import E2MISeg, E2MISegConfig, MFGAConfig, preset_config
from e2miseg_core.networks.mfga import DILATIONS, MFGA


def make_module() -> MFGA:
    torch.manual_seed(0)
    return MFGA(16, 8, 3, (2, 2, 2)).eval()


def test_parameters_follow_the_specification_formula() -> None:
    channels, n_classes, factor = 8, 3, 8
    width = channels // 2 + n_classes
    expected = (
        2 * channels * channels * factor  # transposed convolution
        + channels * n_classes
        + n_classes
        + 2 * width
        + 4 * 28 * width
        + 2 * 4 * width
        + 4 * width * channels
    )
    assert sum(p.numel() for p in make_module().parameters()) == expected


@torch.no_grad()
@pytest.mark.parametrize(
    # Larger than the largest dilation, so that every tap sees voxels.
    ("stride", "coarse_size"),
    [((2, 2, 2), (8, 8, 8)), ((1, 4, 2), (8, 4, 8))],
)
def test_it_computes_its_formulas(
    stride: tuple[int, int, int], coarse_size: tuple[int, int, int], hand: ModuleType
) -> None:
    module = hand.randomise(MFGA(16, 8, 3, stride))
    generator = torch.Generator().manual_seed(1)
    size = [n * s for n, s in zip(coarse_size, stride, strict=True)]
    coarse = torch.randn(2, 16, *coarse_size, generator=generator)
    skip = torch.randn(2, 8, *size, generator=generator)
    expected = hand.mfga(module, coarse, skip)
    assert expected.std() > 0.1
    torch.testing.assert_close(module(coarse, skip), expected, rtol=1e-3, atol=1e-4)


def test_permuting_the_groups_permutes_only_columns_of_the_last_convolution() -> None:
    module, order = make_module(), [2, 0, 3, 1]
    coarse, skip = torch.randn(1, 16, 3, 4, 5), torch.randn(1, 8, 6, 8, 10)
    with torch.no_grad():
        expected = module(coarse, skip)
        # The same groups in another order: 2 of 8 channels of both inputs are one
        # group; 7 of 28 channels of the joined map.
        channels = torch.arange(8).reshape(4, 2)[order].flatten()
        joined = torch.arange(28).reshape(4, 7)[order].flatten()
        twin = make_module()
        twin.upsample.weight.data = module.upsample.weight[:, channels]
        twin.mask.weight.data = module.mask.weight[:, channels]
        twin.groups = torch.nn.ModuleList(module.groups[i] for i in order)
        twin.norm.norm.weight.data = module.norm.norm.weight[joined]
        twin.norm.norm.bias.data = module.norm.norm.bias[joined]
        twin.out.weight.data = module.out.weight[:, joined]
        found = twin(coarse, skip[:, channels])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_mask_logits_learn_from_the_main_loss_alone() -> None:
    module = make_module()
    module(torch.randn(1, 16, 3, 4, 5), torch.randn(1, 8, 6, 8, 10)).sum().backward()
    for parameter in module.mask.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_each_group_reaches_as_far_as_its_dilation() -> None:
    module = make_module()
    size = 2 * max(DILATIONS) + 1
    centre = max(DILATIONS)
    for group, dilation in zip(module.groups, DILATIONS, strict=True):
        x = torch.zeros(1, 7, size, size, size, requires_grad=True)
        group(x)[0, :, centre, centre, centre].sum().backward()
        assert x.grad is not None
        reached = x.grad[0].abs().sum(0).nonzero() - centre
        assert set(reached.flatten().tolist()) == {-dilation, 0, dilation}


def test_a_capped_dilation_stays_within_the_patch_on_each_axis() -> None:
    module = MFGA(
        16, 8, 3, (1, 2, 2), settings=MFGAConfig(cap_dilation=True), size=(4, 1, 20)
    )
    found = [group.dilation for group in module.groups]
    assert found == [(1, 1, 1), (2, 1, 2), (3, 1, 6), (3, 1, 7)]
    plain = MFGA(16, 8, 3, (1, 2, 2), size=(4, 1, 20))
    assert [group.dilation for group in plain.groups] == [(r, r, r) for r in DILATIONS]
    coarse, skip = torch.randn(1, 16, 4, 2, 10), torch.randn(1, 8, 4, 4, 20)
    assert module(coarse, skip).shape == skip.shape


def test_a_mask_of_probabilities_does_not_see_what_all_classes_share() -> None:
    coarse, skip = torch.randn(1, 16, 3, 4, 5), torch.randn(1, 8, 6, 8, 10)
    for softmax in (True, False):
        torch.manual_seed(0)
        settings = MFGAConfig(softmax_mask=softmax)
        module = MFGA(16, 8, 3, (2, 2, 2), settings=settings).eval()
        with torch.no_grad():
            before = module(coarse, skip)
            assert module.mask.bias is not None
            module.mask.bias.add_(2.0)  # of every class alike
            same = torch.allclose(module(coarse, skip), before, atol=1e-5)
        assert same == softmax


def test_without_mfga_the_skip_is_added_as_it_is() -> None:
    torch.manual_seed(0)
    config = preset_config("tiny", mfga=MFGAConfig(enabled=False))
    assert isinstance(config, E2MISegConfig)
    network = E2MISeg(config).eval()
    assert network.aggregate is None
    image = torch.randn(1, 1, *config.patch_size)
    with torch.no_grad():
        skip = network.full_skip(image)
        first = network.encoder[0](network.stem(image))
        second = network.encoder[1](network.downsample[0](first))
        level = network.decoder[1](network.upsample[1](second) + first)
        full = network.decoder[0](network.upsample[0](level) + skip)
        torch.testing.assert_close(network(image), network.heads[0](full))
