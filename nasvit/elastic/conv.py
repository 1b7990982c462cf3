"""Convolutions of many sizes in one memory."""

from __future__ import annotations

import torch
from torch import nn

from nasvit.elastic.base import Elastic, check_size, shared
from nasvit.layers.depthwise import DepthwiseConv2d
from nasvit.layers.pointwise import PointwiseConv2d


def _center(largest: int, kernel_size: int) -> slice:
    start = (largest - kernel_size) // 2
    return slice(start, start + kernel_size)


def _check_kernel(layer: str, kernel_size: int, largest: int) -> None:
    check_size(layer, "kernel_size", kernel_size, largest)
    if (largest - kernel_size) % 2:
        raise ValueError(
            f"{layer}: kernel_size={kernel_size} has no center in a kernel of {largest}; "
            f"legal: {', '.join(str(k) for k in range(2 - largest % 2, largest + 1, 2))}"
        )


def _plain(in_channels: int, out_channels: int, side: int, stride: int, bias: bool) -> nn.Conv2d:
    if side == 1:
        return PointwiseConv2d(in_channels, out_channels, stride=stride, bias=bias)
    return nn.Conv2d(in_channels, out_channels, side, stride, side // 2, bias=bias)


class ElasticConv2d(Elastic):
    """Convolutions of many widths and kernel sizes: leading channels, center of the kernel.

    Source: Cai et al., Once-for-All (2020), section 3, https://arxiv.org/abs/1908.09791 (widths, center crop); the
    crop without a transform matrix is that of Wang et al., AttentiveNAS (2021), https://arxiv.org/abs/2011.09011.

    Args:
        in_channels: channels in of the widest convolution.
        out_channels: channels out of the widest convolution.
        kernel_size: side of the largest kernel, in pixels.
        stride: stride of every convolution, in pixels.
        bias: whether to add a bias per channel out.

    Shape:
        The convolution of ``at``: ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``,
        padded so that stride 1 keeps the size.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, *, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = kernel_size, stride
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    @shared
    def at(self, in_channels: int, out_channels: int, kernel_size: int | None = None) -> nn.Conv2d:
        """Return the convolution of one size as a plain layer that shares this one's memory.

        Raises:
            ValueError: if this layer holds no such size.
        """
        side = self.kernel_size if kernel_size is None else kernel_size
        check_size("ElasticConv2d", "in_channels", in_channels, self.in_channels)
        check_size("ElasticConv2d", "out_channels", out_channels, self.out_channels)
        _check_kernel("ElasticConv2d", side, self.kernel_size)
        with torch.device("meta"):
            conv = _plain(in_channels, out_channels, side, self.stride, self.bias is not None)
        crop = _center(self.kernel_size, side)
        conv.weight = self.view("weight", slice(out_channels), slice(in_channels), crop, crop)
        if self.bias is not None:
            conv.bias = self.view("bias", slice(out_channels))
        return conv


class ElasticDepthwiseConv2d(Elastic):
    """Depthwise convolutions (one filter a channel) of many widths and kernel sizes.

    Source: as :class:`ElasticConv2d`.

    Args:
        channels: channels of the widest convolution.
        kernel_size: side of the largest kernel, in pixels.
        stride: stride of every convolution, in pixels.

    Shape:
        The convolution of ``at``: ``(batch, channels, height, width) -> (batch, channels, height', width')``.
    """

    def __init__(self, channels: int, kernel_size: int, *, stride: int = 1) -> None:
        super().__init__()
        self.channels, self.kernel_size, self.stride = channels, kernel_size, stride
        self.weight = nn.Parameter(torch.zeros(channels, 1, kernel_size, kernel_size))

    @shared
    def at(self, channels: int, kernel_size: int | None = None, trim: int = 0) -> DepthwiseConv2d:
        """Return the depthwise convolution of one size as a plain layer that shares this one's memory.

        Args:
            channels: channels.
            kernel_size: side of the kernel in pixels; the largest if left out.
            trim: pixels that it pads less than half its kernel.

        Raises:
            ValueError: if this layer holds no such size.
        """
        side = self.kernel_size if kernel_size is None else kernel_size
        check_size("ElasticDepthwiseConv2d", "channels", channels, self.channels)
        _check_kernel("ElasticDepthwiseConv2d", side, self.kernel_size)
        with torch.device("meta"):
            conv = DepthwiseConv2d(channels, side, stride=self.stride)
        conv.padding = (side // 2 - trim,) * 2
        crop = _center(self.kernel_size, side)
        conv.weight = self.view("weight", slice(channels), slice(None), crop, crop)
        return conv
