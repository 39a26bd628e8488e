"""Our convolutions compute what the library's do, in float32 where they must."""

import pytest
import torch
from torch import nn

from e2miseg_core.networks.convolutions import DepthwiseConv3d, SameConv3d


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


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 8])
def test_gradients_in_bfloat16_are_those_of_float32_at_every_depth(depth: int) -> None:
    """The library leaves the weights' gradient uninitialised at a depth of 2."""
    torch.manual_seed(0)
    convolution = SameConv3d(8, 8, bias=False)
    convolution.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    image = torch.randn(2, 8, depth, 5, 6)
    weights = torch.randn(2, 8, depth, 5, 6)

    def gradient(*, mixed: bool) -> torch.Tensor:
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            result = convolution(image)
        (result.float() * weights).sum().backward()
        assert convolution.weight.grad is not None
        return convolution.weight.grad.clone()

    exact = gradient(mixed=False)
    for _ in range(3):  # what is left uninitialised differs from call to call
        torch.full((300_000,), 1e30)  # so that it is not left at 0 by chance
        error = (gradient(mixed=True) - exact).abs().max() / exact.abs().max()
        assert error < 0.05
