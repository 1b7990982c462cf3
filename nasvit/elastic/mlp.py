"""MLPs of many sizes in one memory."""

from __future__ import annotations

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.conv import ElasticDepthwiseConv2d
from nasvit.elastic.linear import ElasticLinear
from nasvit.layers.activation import activation
from nasvit.layers.mlp import Mlp


class ElasticMlp(Elastic):
    """MLPs of many widths and hidden widths.

    Args:
        channels: channels of the widest MLP.
        ratio: the largest hidden width over the channels.
        depthwise: whether a 3x3 depthwise convolution works on the hidden map.
        act: name of the activation.

    Shape:
        The MLP of ``at``: ``(batch, height, width, channels) -> (batch, height, width, channels)``
    """

    def __init__(self, channels: int, ratio: float, *, depthwise: bool = False, act: str = "swish") -> None:
        super().__init__()
        hidden = round(channels * ratio)
        self.act = act
        self.widen = ElasticLinear(channels, hidden)
        self.conv = ElasticDepthwiseConv2d(hidden, 3) if depthwise else None
        self.narrow = ElasticLinear(hidden, channels)

    @shared
    def at(self, channels: int, ratio: float) -> Mlp:
        """Return the MLP of one size as plain layers that share this one's memory.

        Raises:
            ValueError: if this MLP holds no such size.
        """
        hidden = round(channels * ratio)
        conv = None if self.conv is None else self.conv.at(hidden)
        return Mlp(self.widen.at(channels, hidden), conv, activation(self.act), self.narrow.at(hidden, channels))
