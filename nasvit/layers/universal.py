"""The blocks of MobileNetV4: universal inverted bottlenecks, and the pairs of convolutions before them."""

from __future__ import annotations

from torch import Tensor, nn


class UniversalBottleneck(nn.Module):
    """Perhaps convolve each channel, widen, perhaps convolve each channel, narrow, add the shortcut.

    With the second depthwise convolution alone it is an inverted residual, with the first one alone much like a block
    of ConvNeXt, with both what the paper calls "extra depthwise", and with neither a feed-forward network.

    Source: Qin et al., MobileNetV4 (2024), section 3, https://arxiv.org/abs/2404.10518

    Args:
        start: depthwise convolution of the channels in, without activation, or None.
        expand: 1x1 convolution to the hidden channels.
        depthwise: depthwise convolution of the hidden channels, or None.
        project: 1x1 convolution to the channels out, without activation.
        shortcut: module whose output is added to the result, or None.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self,
        start: nn.Module | None,
        expand: nn.Module,
        depthwise: nn.Module | None,
        project: nn.Module,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__()
        self.start, self.expand, self.depthwise, self.project = start, expand, depthwise, project
        self.shortcut = shortcut
        self.drop_path: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.expand(x if self.start is None else self.start(x))
        if self.depthwise is not None:
            hidden = self.depthwise(hidden)
        hidden = self.project(hidden)
        if self.shortcut is None:
            return hidden
        if self.drop_path is not None:
            hidden = self.drop_path(hidden)
        return self.shortcut(x) + hidden


class ConvPair(nn.Module):
    """Convolve, then mix the channels, each with its batch norm and activation.

    Source: the released MobileNetV4-Conv-S has two of these before its universal inverted bottlenecks.

    Args:
        widen: convolution to the hidden channels.
        narrow: 1x1 convolution to the channels out.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(self, widen: nn.Module, narrow: nn.Module) -> None:
        super().__init__()
        self.widen, self.narrow = widen, narrow

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(self.widen(x))
        return out
