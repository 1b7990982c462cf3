"""Shortcuts past a block that changes size or width."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


def _pool(x: Tensor, side: int) -> Tensor:
    height, width = x.shape[2:]
    if torch.jit.is_tracing():  # as the older exporter of ONNX files does, which knows no remainders of sizes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # the side is that of the images traced
            height, width = int(height), int(width)
    return F.avg_pool2d(x, side, padding=(height % side, width % side))


fx.wrap("_pool")  # torch 2.6 cannot trace a padding that follows from the size of the map


class PoolShortcut(nn.Module):
    """Average-pool by the stride, then change the width by a 1x1 convolution without batch norm.

    A map of odd side is padded by one, and the padding counts in the mean.

    Source: Wang et al., AttentiveNAS (2021), released code, https://arxiv.org/abs/2011.09011

    Args:
        stride: side of the pooled squares, in pixels.
        conv: the convolution that changes the width, or None where it stays.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, ceil(height / stride), ceil(width / stride))``
    """

    def __init__(self, stride: int, conv: nn.Conv2d | None) -> None:
        super().__init__()
        self.stride = stride
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = _pool(x, self.stride)
        return x if self.conv is None else self.conv(x)

    def extra_repr(self) -> str:
        return f"stride={self.stride}"
