"""Laws of MFGA: specification A.3 and part C, test 5."""

import torch

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
