"""Heads of many widths in one memory."""

from __future__ import annotations

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ElasticBatchNorm2d
from nasvit.elastic.conv import ElasticConv2d
from nasvit.elastic.conv_norm import ElasticConvNorm
from nasvit.elastic.linear import ElasticLinear
from nasvit.layers.head import Head


class ElasticHead(Elastic):
    """1x1 convolution to ``expand_ratio`` times the channels, pooling, 1x1 convolution, classifier.

    Args:
        in_channels: channels of the widest last stage.
        width: the most channels that enter the classifier.
        classes: number of classes.
        expand_ratio: channels before pooling over channels of the last stage.
        act: name of the activation.
        stored_statistics: see :class:`nasvit.elastic.ElasticBatchNorm2d`.

    Shape:
        The head of ``at``: ``(batch, in_channels, height, width) -> (batch, classes)``
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        classes: int,
        *,
        expand_ratio: float,
        act: str,
        stored_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.expand_ratio, self.classes = expand_ratio, classes
        hidden = self.hidden_channels(in_channels)
        norm = ElasticBatchNorm2d(hidden, stored_statistics=stored_statistics)
        self.expand = ElasticConvNorm(ElasticConv2d(in_channels, hidden), norm, act)
        self.mix = ElasticConvNorm(ElasticConv2d(hidden, width), None, act)
        self.classifier = ElasticLinear(width, classes)

    def hidden_channels(self, in_channels: int) -> int:
        """Return the channels before pooling."""
        return round(in_channels * self.expand_ratio)

    @shared
    def at(self, in_channels: int, width: int) -> Head:
        """Return the head of one size as plain layers that share this one's memory.

        Raises:
            ValueError: if this head holds no such size.
        """
        hidden = self.hidden_channels(in_channels)
        return Head(
            self.expand.at(in_channels, hidden), self.mix.at(hidden, width), self.classifier.at(width, self.classes)
        )
