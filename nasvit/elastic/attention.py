"""Attention of many widths in one memory: heads follow the width."""

from __future__ import annotations

import torch
from torch import nn

from nasvit.elastic.base import Elastic, check_size, shared
from nasvit.elastic.conv import ElasticDepthwiseConv2d
from nasvit.elastic.linear import ElasticLinear
from nasvit.layers.activation import activation
from nasvit.layers.attention import Attention, TalkingHeads
from nasvit.layers.position_bias import RelativePositionBias


class ElasticRelativePositionBias(Elastic):
    """Relative position biases of many windows: a smaller window takes the center of the largest one's table.

    Args:
        side: tokens along a side of the largest window.
        heads: the most heads.
    """

    def __init__(self, side: int, heads: int) -> None:
        super().__init__()
        self.side, self.heads = side, heads
        self.table = nn.Parameter(torch.zeros(2 * side - 1, 2 * side - 1, heads))

    @shared
    def at(self, side: int, heads: int) -> RelativePositionBias:
        """Return the bias for windows of ``side`` by ``side`` tokens as a plain layer that shares this memory.

        Raises:
            ValueError: if this layer holds no such size.
        """
        check_size("ElasticRelativePositionBias", "side", side, self.side)
        check_size("ElasticRelativePositionBias", "heads", heads, self.heads)
        crop = slice(self.side - side, self.side + side - 1)
        return RelativePositionBias(self.view("table", crop, crop, slice(heads)))


class ElasticTalkingHeads(Elastic):
    """Head mixing for many numbers of heads: fewer heads take the leading rows and columns.

    Args:
        heads: the most heads.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.eye(heads))
        self.bias = nn.Parameter(torch.zeros(heads))

    @shared
    def at(self, heads: int) -> TalkingHeads:
        """Return the mixing of ``heads`` heads as a plain layer that shares this one's memory.

        Raises:
            ValueError: if this layer has fewer heads.
        """
        check_size("ElasticTalkingHeads", "heads", heads, self.heads)
        mix = TalkingHeads(heads)
        mix.weight = self.view("weight", slice(heads), slice(heads))
        mix.bias = self.view("bias", slice(heads))
        return mix


class ElasticAttention(Elastic):
    """Attention of many widths, windows and map sizes in one memory.

    Source: Gong et al., NASViT (2022), section 3, https://openreview.net/forum?id=Qaw16njk6L

    Args:
        channels: channels of the widest attention.
        side: tokens along a side of the largest window.
        head_dim: channels of a head's queries and keys; a width of C has C / head_dim heads.
        value_ratio: value channels over channels.
        act: activation next to the projection.
        activate_first: whether the activation comes before the projection.

    Shape:
        The attention of ``at``: ``(batch, height, width, channels) -> (batch, height, width, channels)``
    """

    def __init__(
        self,
        channels: int,
        side: int,
        *,
        head_dim: int = 8,
        value_ratio: int = 4,
        act: str = "swish",
        activate_first: bool = True,
    ) -> None:
        super().__init__()
        self.head_dim, self.value_ratio = head_dim, value_ratio
        self.act, self.activate_first = act, activate_first
        heads, values = self.heads(channels), channels * value_ratio
        self.query = ElasticLinear(channels, channels)
        self.key = ElasticLinear(channels, channels)
        self.value = ElasticLinear(channels, values)
        self.value_conv = ElasticDepthwiseConv2d(values, 3)
        self.position_bias = ElasticRelativePositionBias(side, heads)
        self.mix_logits = ElasticTalkingHeads(heads)
        self.mix_weights = ElasticTalkingHeads(heads)
        self.project = ElasticLinear(values, channels)

    def heads(self, channels: int) -> int:
        """Return the number of heads at a width.

        Raises:
            ValueError: if the width is no multiple of the head dimension.
        """
        if channels % self.head_dim:
            raise ValueError(f"ElasticAttention: channels={channels} is no multiple of head_dim={self.head_dim}")
        return channels // self.head_dim

    @shared
    def at(self, channels: int, side: int, windows: int = 1) -> Attention:
        """Return the attention of one width for maps of ``side`` by ``side`` tokens.

        Raises:
            ValueError: if this layer holds no such size, or ``windows`` does not divide ``side``.
        """
        if side % windows:
            raise ValueError(f"ElasticAttention: windows={windows} does not divide a map of side {side}")
        heads, values = self.heads(channels), channels * self.value_ratio
        return Attention(
            self.query.at(channels, channels),
            self.key.at(channels, channels),
            self.value.at(channels, values),
            self.value_conv.at(values),
            self.position_bias.at(side // windows, heads),
            self.mix_logits.at(heads),
            self.mix_weights.at(heads),
            self.project.at(values, channels),
            activation(self.act),
            heads=heads,
            windows=windows,
            activate_first=self.activate_first,
        )
