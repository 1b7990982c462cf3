"""Depthwise convolution that stays fast in mixed precision on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """Convolution with one filter per channel, padded so that stride 1 keeps the size.

    In bfloat16 on a CPU the backward pass of a strided depthwise convolution, or of one with a kernel larger than 3,
    is tens of times slower than in float32, so those run in the format of the weights under autocast.

    Args:
        channels: channels in and out.
        kernel_size: side of the kernel, in pixels.
        stride: stride, in pixels.

    Shape:
        ``(batch, channels, height, width) -> (batch, channels, height', width')``
    """

    def __init__(self, channels: int, kernel_size: int, *, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel_size, stride, kernel_size // 2, groups=channels, bias=False)
        self.slow_in_bfloat16 = stride > 1 or kernel_size > 3

    def forward(self, input: Tensor) -> Tensor:
        if self.slow_in_bfloat16 and input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.to(self.weight.dtype))
        return super().forward(input)
