"""3x3x3 convolutions that leave bfloat16 on a CPU where it is slow or wrong.

Both were measured with torch 2.13 on AVX-512 bf16:

- depthwise convolutions are slow. Forward and backward of 11 channels of (32, 48, 32),
  batch 2, channels last, take 47 ms against 12 ms in float32 on two cores, and 1077
  against 401 ms for 12 channels of (64, 128, 128);
- the backward pass of an ordinary one leaves the gradient of its weights uninitialised
  where the volume is exactly 2 voxels deep in Z: random numbers, another time NaN.
"""

import torch
from torch import Tensor, nn

__all__ = ["DepthwiseConv3d", "SameConv3d"]

WRONG_DEPTH = 2  # voxels in Z


class SameConv3d(nn.Conv3d):
    """A convolution that keeps the spatial size.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel : int
        Odd.
    bias : bool
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        bias: bool = False,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel, padding=kernel // 2, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, Z, Y, X) to (N, out_channels, Z, Y, X)."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        if x.device.type == "cpu" and learns and x.shape[2] == WRONG_DEPTH:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype))
        return super().forward(x)


class DepthwiseConv3d(nn.Conv3d):
    """Each channel by itself, the spatial size kept; on a CPU always in float32.

    Parameters
    ----------
    channels : int
    dilation : tuple of 3 int
        Also the padding.
    bias : bool
    """

    def __init__(
        self,
        channels: int,
        dilation: tuple[int, int, int] = (1, 1, 1),
        *,
        bias: bool = False,
    ) -> None:
        super().__init__(
            channels,
            channels,
            3,
            padding=dilation,
            dilation=dilation,
            groups=channels,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, Z, Y, X) to the same shape."""
        if x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))
