"""Elastic convolution with its batch norm and activation."""

from __future__ import annotations

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ANY, ElasticNorm, Switch, Widths
from nasvit.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from nasvit.elastic.norms import NormFactory
from nasvit.layers.activation import activation
from nasvit.layers.conv_norm import ConvNorm

Axes = list[tuple[str, int]]
"""A set of channels: the names of all tensors that have them, each with its axis of channels.

The first tensor is the weight of the convolution that reads them, by which their importance is measured.
"""


class ElasticConvNorm(Elastic):
    """Elastic convolution, then an elastic batch norm, then an activation (or none).

    Args:
        conv: the elastic convolution, full or depthwise.
        norm: the elastic batch norm after it, or None.
        act: name of the activation after the batch norm, or None.
    """

    def __init__(
        self, conv: ElasticConv2d | ElasticDepthwiseConv2d, norm: ElasticNorm | None = None, act: str | None = None
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.act = act

    @shared
    def at(
        self,
        in_channels: int,
        out_channels: int,
        switch: Switch = ANY,
        *,
        kernel_size: int | None = None,
        trim: int = 0,
    ) -> ConvNorm:
        """Return the plain layers of one size.

        Args:
            in_channels: channels in.
            out_channels: channels out; of a depthwise convolution they are those in.
            switch: the subnet that its batch norm belongs to.
            kernel_size: side of the kernel in pixels; the largest if left out.
            trim: pixels that a depthwise convolution pads less than half its kernel.

        Raises:
            ValueError: if the convolution holds no such size, or a depthwise one should change its channels.
        """
        if isinstance(self.conv, ElasticConv2d):
            conv = self.conv.at(in_channels, out_channels, kernel_size)
        elif in_channels == out_channels:
            conv = self.conv.at(in_channels, kernel_size, trim)
        else:
            raise ValueError(f"depthwise convolution: {in_channels} channels in, {out_channels} out; they are the same")
        norm = None if self.norm is None else self.norm.at(out_channels, switch)
        return ConvNorm(conv, norm, None if self.act is None else activation(self.act))

    def zero_gains(self) -> None:
        """Start the batch norm's gains at 0, so that a residual branch that ends here starts as nothing."""
        assert self.norm is not None
        for gain in self.norm.gains():
            nn.init.zeros_(gain)

    def out_channel_tensors(self) -> list[str]:
        """Name the tensors whose first axis is the channels out.

        Raises:
            ValueError: if the channels cannot change places, as with switchable batch norms.
        """
        norm = [] if self.norm is None else [f"norm.{name}" for name in self.norm.channel_tensors()]
        return ["conv.weight", *norm]


def full(
    in_widths: Widths,
    out_widths: Widths,
    norm: NormFactory,
    act: str | None = None,
    *,
    kernel_size: int = 1,
    stride: int = 1,
) -> ElasticConvNorm:
    """Build the layers around a full convolution.

    Args:
        in_widths: channels in at each switch.
        out_widths: channels out at each switch.
        norm: builds the batch norm from the channels at each switch.
        act: name of the activation, or None.
        kernel_size: side of the largest kernel, in pixels.
        stride: stride, in pixels.
    """
    conv = ElasticConv2d(max(in_widths), max(out_widths), kernel_size, stride=stride)
    return ElasticConvNorm(conv, norm(out_widths), act)


def depthwise(
    widths: Widths, norm: NormFactory, act: str | None = None, *, kernel_size: int, stride: int = 1
) -> ElasticConvNorm:
    """Build the layers around a depthwise convolution; arguments as in :func:`full`."""
    return ElasticConvNorm(ElasticDepthwiseConv2d(max(widths), kernel_size, stride=stride), norm(widths), act)
