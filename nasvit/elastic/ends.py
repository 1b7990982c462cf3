"""Elastic first and last layers whose channels are planned."""

from __future__ import annotations

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.conv import ElasticConv2d
from nasvit.elastic.linear import ElasticLinear
from nasvit.elastic.shuffle import ElasticGroupedLayers
from nasvit.elastic.unit import ElasticUnit, NormFactory, Switch, Widths, full
from nasvit.layers.head import Head as PlainHead
from nasvit.models.family import HeadSpec, StemSpec


class ElasticStem(Elastic):
    """First convolution, batch norm and activation, then perhaps max-pooling, of many channels.

    Args:
        stem: what the stem is.
        image_channels: channels of the images.
        widths: channels out at each switch.
        norm: builds a batch norm from the channels at each switch.
    """

    def __init__(self, stem: StemSpec, image_channels: int, widths: Widths, norm: NormFactory) -> None:
        super().__init__()
        self.stem, self.image_channels = stem, image_channels
        side, stride, images = stem.kernel_size, stem.stride, (image_channels,) * len(widths)
        self.conv: ElasticUnit | ElasticGroupedLayers
        if stem.groups == 1:
            self.conv = full(images, widths, norm, stem.act, kernel_size=side, stride=stride)
        else:
            self.conv = ElasticGroupedLayers(
                images, widths, stem.groups, norm, stem.act, split=False, kernel_size=side, stride=stride
            )

    @shared
    def at(self, channels: int, switch: Switch) -> nn.Sequential:
        """Return the plain layers of one subnet.

        Raises:
            ValueError: if this stem holds no such size.
        """
        layers = nn.Sequential()
        layers.add_module("conv", self.conv.at(self.image_channels, channels, switch))
        if self.stem.pool is not None:
            layers.add_module("pool", nn.MaxPool2d(self.stem.pool, 2, self.stem.pool_padding))
        return layers


class ElasticPooledHead(Elastic):
    """Perhaps a convolution, pooling, perhaps another convolution, classifier, of many channels.

    Args:
        head: what the head is.
        in_widths: channels in at each switch.
        widths: channels of the convolutions at each switch, one entry a decision.
        classes: number of classes.
        norm: builds a batch norm from the channels at each switch.
    """

    def __init__(
        self, head: HeadSpec, in_widths: Widths, widths: tuple[Widths, ...], classes: int, norm: NormFactory
    ) -> None:
        super().__init__()
        self.classes = classes
        rest = list(widths)
        self.expand: ElasticUnit | None = None
        self.mix: ElasticUnit | None = None
        if head.channels is not None:
            self.expand = full(in_widths, rest[0], norm, head.act)
            in_widths = rest.pop(0)
        if head.mix is not None:
            self.mix = ElasticUnit(ElasticConv2d(max(in_widths), max(rest[0]), bias=True), None, head.act)
            in_widths = rest.pop(0)
        self.classifier = ElasticLinear(max(in_widths), classes)

    @shared
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch) -> PlainHead:
        """Return the plain head of one subnet.

        Raises:
            ValueError: if this head holds no such size.
        """
        rest, last = list(channels), in_channels
        expand = mix = None
        if self.expand is not None:
            expand = self.expand.at(last, rest[0], switch)
            last = rest.pop(0)
        if self.mix is not None:
            mix = self.mix.at(last, rest[0], switch)
            last = rest.pop(0)
        return PlainHead(expand, mix, self.classifier.at(last, self.classes))
