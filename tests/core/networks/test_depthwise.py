"""The depthwise convolution computes what the library's does, in float32 on CPUs."""

import pytest
import torch
from torch import nn

from e2miseg_core.networks.depthwise import DepthwiseConv3d


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_the_grouped_convolution_of_the_library(
    dilation: int, *, bias: bool
) -> None:
    torch.manual_seed(0)
    ours = DepthwiseConv3d(5, (dilation,) * 3, bias=bias)
    theirs = nn.Conv3d(
        5, 5, 3, padding=dilation, dilation=dilation, groups=5, bias=bias
    )
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(2, 5, 6, 7, 4)
    torch.testing.assert_close(ours(image), theirs(image))


def test_autocast_leaves_it_in_float32() -> None:
    torch.manual_seed(0)
    convolution = DepthwiseConv3d(4, bias=True)
    image = torch.randn(1, 4, 5, 5, 5)
    exact = convolution(image)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = convolution(image)
        of_half = convolution(image.bfloat16())
    assert torch.equal(mixed, exact)
    torch.testing.assert_close(of_half, convolution(image.bfloat16().float()))


def test_it_computes_in_float64_where_its_weights_are() -> None:
    torch.manual_seed(0)
    convolution = DepthwiseConv3d(2).double()
    image = torch.randn(1, 2, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(convolution, (image,))
