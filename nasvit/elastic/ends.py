"""First and last layers of many sizes in one memory."""

from __future__ import annotations

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ANY, Switch, Widths
from nasvit.elastic.conv import ElasticConv2d
from nasvit.elastic.conv_norm import ElasticConvNorm, full
from nasvit.elastic.linear import ElasticLinear
from nasvit.elastic.norms import NormFactory, calibrated_norm
from nasvit.elastic.shuffle import ElasticGroupedLayers
from nasvit.layers.head import Head


class ElasticStem(Elastic):
    """First convolution, batch norm and activation, then perhaps max-pooling, of many channels.

    Args:
        conv: the convolution with its batch norm and activation, or several side by side.
        image_channels: channels of the images.
        pool: side of the max-pooled squares (stride 2) in pixels, or None.
        pool_padding: padding of the max-pooling, in pixels.
    """

    def __init__(
        self,
        conv: ElasticConvNorm | ElasticGroupedLayers,
        image_channels: int,
        *,
        pool: int | None = None,
        pool_padding: int = 1,
    ) -> None:
        super().__init__()
        self.conv, self.image_channels = conv, image_channels
        self.pool, self.pool_padding = pool, pool_padding

    @shared
    def at(self, channels: int, switch: Switch = ANY) -> nn.Sequential:
        """Return the plain layers of one subnet.

        Raises:
            ValueError: if this stem holds no such size.
        """
        layers = nn.Sequential()
        layers.add_module("conv", self.conv.at(self.image_channels, channels, switch))
        if self.pool is not None:
            layers.add_module("pool", nn.MaxPool2d(self.pool, 2, self.pool_padding))
        return layers


class ElasticHead(Elastic):
    """Perhaps a 1x1 convolution, pooling, perhaps another 1x1 convolution, classifier, of many channels.

    Args:
        in_widths: channels in at each switch.
        hidden: channels before pooling at each switch; None: the channels in, without a convolution before pooling.
        mixed: channels that enter the classifier at each switch; None: those before pooling, without a convolution
            after it.
        classes: number of classes.
        act: name of the activation after both convolutions.
        mix_bias: whether the convolution after pooling, which has no batch norm, has a bias.
        deviation: standard deviation of the classifier's initial weights; None: that of any linear layer.
        norm: builds a batch norm from the channels at each switch.

    Shape:
        The head of ``at``: ``(batch, in_channels, height, width) -> (batch, classes)``
    """

    def __init__(
        self,
        in_widths: Widths,
        hidden: Widths | None,
        mixed: Widths | None,
        classes: int,
        *,
        act: str,
        mix_bias: bool = True,
        deviation: float | None = None,
        norm: NormFactory = calibrated_norm,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.expand = None if hidden is None else full(in_widths, hidden, norm, act)
        last = in_widths if hidden is None else hidden
        self.mix: ElasticConvNorm | None = None
        if mixed is not None:
            self.mix = ElasticConvNorm(ElasticConv2d(max(last), max(mixed), bias=mix_bias), None, act)
            last = mixed
        self.classifier = ElasticLinear(max(last), classes, deviation=deviation)

    @shared
    def at(self, in_channels: int, hidden: int | None, mixed: int | None, switch: Switch = ANY) -> Head:
        """Return the plain head of one subnet.

        Args:
            in_channels: channels in.
            hidden: channels before pooling, or None where there is no convolution before it.
            mixed: channels that enter the classifier, or None where there is no convolution after pooling.
            switch: the subnet that its batch norm belongs to.

        Raises:
            ValueError: if this head holds no such size.
        """
        last, expand, mix = in_channels, None, None
        if self.expand is not None and hidden is not None:
            expand, last = self.expand.at(last, hidden, switch), hidden
        if self.mix is not None and mixed is not None:
            mix, last = self.mix.at(last, mixed, switch), mixed
        return Head(expand, mix, self.classifier.at(last, self.classes))
