"""Elastic convolution with its batch norm and activation."""

from __future__ import annotations

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ElasticBatchNorm2d
from nasvit.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from nasvit.layers.activation import activation
from nasvit.layers.conv_norm import ConvNorm


class ElasticConvNorm(Elastic):
    """Elastic convolution, then elastic batch norm, then an activation (or none).

    Args:
        conv: the elastic convolution, full or depthwise.
        norm: the elastic batch norm after it, or None.
        act: name of the activation after that, or None.
    """

    def __init__(
        self,
        conv: ElasticConv2d | ElasticDepthwiseConv2d,
        norm: ElasticBatchNorm2d | None = None,
        act: str | None = None,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.act = act

    @shared
    def at(self, *channels: int, kernel_size: int | None = None) -> ConvNorm:
        """Return the plain layers of one size.

        Args:
            channels: channels in and out of a full convolution, or the channels of a depthwise one.
            kernel_size: side of the kernel in pixels; the largest if left out.

        Raises:
            ValueError: if the convolution holds no such size.
        """
        conv = self.conv.at(*channels, kernel_size=kernel_size)  # type: ignore[misc]
        norm = None if self.norm is None else self.norm.at(channels[-1])
        return ConvNorm(conv, norm, None if self.act is None else activation(self.act))
