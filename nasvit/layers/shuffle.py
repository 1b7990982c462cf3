"""Grouped convolutions made of separate ones, and the blocks of ShuffleNet v1 and v2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def shuffle_channels(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` equal groups.

    Source: Zhang et al., ShuffleNet (2018), section 3.1, https://arxiv.org/abs/1707.01083

    Shape:
        ``(batch, channels, height, width) -> (batch, channels, height, width)``
    """
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


class GroupedLayers(nn.Module):
    """Layers side by side, their results concatenated: a grouped convolution with one layer per group.

    Args:
        groups: the layers.
        split: give each layer its share of the channels; otherwise each gets all channels.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(self, groups: Sequence[nn.Module], *, split: bool) -> None:
        super().__init__()
        self.groups = nn.ModuleList(groups)
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        shares = x.chunk(len(self.groups), 1) if self.split else [x] * len(self.groups)
        return torch.cat([layer(share) for layer, share in zip(self.groups, shares, strict=True)], 1)


class ShuffleBlock(nn.Module):
    """Grouped 1x1 convolution, channel shuffle, depthwise convolution, grouped 1x1 convolution.

    The input is added, or, where the block halves the size, average-pooled and appended. The activation stands before
    appending and there is none after the depthwise convolution, as in the code released by Yu et al. (2019).

    Source: Zhang et al., ShuffleNet (2018), section 3.2, https://arxiv.org/abs/1707.01083

    Args:
        squeeze: the first grouped convolution.
        depthwise: the depthwise convolution.
        expand: the second grouped convolution.
        groups: groups that are shuffled.
        pooled: append the pooled input instead of adding the input.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self, squeeze: nn.Module, depthwise: nn.Module, expand: nn.Module, *, groups: int, pooled: bool
    ) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.depthwise = depthwise
        self.expand = expand
        self.groups = groups
        self.pool = nn.AvgPool2d(3, 2, 1) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        hidden = shuffle_channels(self.squeeze(x), self.groups)
        hidden = self.expand(self.depthwise(hidden))
        if self.pool is None:
            return torch.relu(hidden + x)
        return torch.cat([torch.relu(hidden), self.pool(x)], 1)


class SplitShuffleBlock(nn.Module):
    """Half of the channels pass, the other half goes through layers; then the halves are interleaved.

    Where the block changes size or channels, all channels go through both branches.

    Source: Ma et al., ShuffleNet V2 (2018), section 3.2, https://arxiv.org/abs/1807.11164

    Args:
        shortcut: layers of the first half, or None where it passes.
        squeeze: 1x1 convolution of the second half.
        depthwise: the depthwise convolution after it.
        expand: the last 1x1 convolution.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self, shortcut: Sequence[nn.Module] | None, squeeze: nn.Module, depthwise: nn.Module, expand: nn.Module
    ) -> None:
        super().__init__()
        self.shortcut = None if shortcut is None else nn.Sequential(*shortcut)
        self.squeeze = squeeze
        self.depthwise = depthwise
        self.expand = expand

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            first, second = x.chunk(2, 1)
        else:
            first, second = self.shortcut(x), x
        second = self.expand(self.depthwise(self.squeeze(second)))
        return shuffle_channels(torch.cat([first, second], 1), 2)
