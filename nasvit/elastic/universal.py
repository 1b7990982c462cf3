"""The blocks of MobileNetV4 of many sizes in one memory."""

from __future__ import annotations

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ANY, Switch, Widths
from nasvit.elastic.conv_norm import Axes, ElasticConvNorm, depthwise, full
from nasvit.elastic.norms import NormFactory, calibrated_norm
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.universal import ConvPair, UniversalBottleneck


class ElasticUniversalBottleneck(Elastic):
    """Universal inverted bottlenecks of many channels, hidden channels and kernel sizes.

    A kernel of 0 leaves a depthwise convolution out. The stride is that of the second one, which a block of stride 2
    has in every subnet. Blocks that keep size and channels add their input.

    Source: Qin et al., MobileNetV4 (2024), section 3, https://arxiv.org/abs/2404.10518

    Args:
        in_widths: channels in at each switch.
        hidden: hidden channels at each switch.
        out_widths: channels out at each switch.
        start_kernel_size: side of the largest kernel of the first depthwise convolution in pixels; 0: there is none.
        kernel_size: side of the largest kernel of the second one, likewise.
        stride: stride of the second one, in pixels.
        act: name of the activation.
        zero_last_gain: start the last batch norm's gain at 0, so that a block starts as its shortcut.
        norm: builds a batch norm from the channels at each switch.

    Shape:
        The block of ``at``: ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self,
        in_widths: Widths,
        hidden: Widths,
        out_widths: Widths,
        *,
        start_kernel_size: int,
        kernel_size: int,
        stride: int = 1,
        act: str = "relu",
        zero_last_gain: bool = False,
        norm: NormFactory = calibrated_norm,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.start = depthwise(in_widths, norm, kernel_size=start_kernel_size) if start_kernel_size else None
        self.expand = full(in_widths, hidden, norm, act)
        self.depthwise = depthwise(hidden, norm, act, kernel_size=kernel_size, stride=stride) if kernel_size else None
        self.project = full(hidden, out_widths, norm)
        if zero_last_gain:
            self.project.zero_gains()

    @shared
    def at(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        start_kernel_size: int,
        kernel_size: int,
        switch: Switch = ANY,
    ) -> UniversalBottleneck:
        """Return the block of one size as plain layers that share this one's memory.

        Args:
            in_channels: channels in.
            hidden: hidden channels.
            out_channels: channels out.
            start_kernel_size: side of the first depthwise kernel in pixels; 0: without it.
            kernel_size: side of the second one, likewise.
            switch: the subnet that its batch norms belong to.

        Raises:
            ValueError: if this block holds no such size, or would lose its stride.
        """
        if self.stride > 1 and not kernel_size:
            raise ValueError("ElasticUniversalBottleneck: kernel_size=0, but that convolution has the block's stride")
        keeps = self.stride == 1 and in_channels == out_channels
        return UniversalBottleneck(
            _depthwise_at(self.start, "start_kernel_size", in_channels, start_kernel_size, switch),
            self.expand.at(in_channels, hidden, switch),
            _depthwise_at(self.depthwise, "kernel_size", hidden, kernel_size, switch),
            self.project.at(hidden, out_channels, switch),
            nn.Identity() if keeps else None,
        )

    def inner_channels(self) -> list[Axes]:
        """Return the axes of the hidden channels.

        Raises:
            ValueError: if the channels cannot change places, as with switchable batch norms.
        """
        hidden: Axes = [("project.conv.weight", 1)]
        for name, layers in (("depthwise", self.depthwise), ("expand", self.expand)):
            hidden += [] if layers is None else [(f"{name}.{tensor}", 0) for tensor in layers.out_channel_tensors()]
        return [hidden]


def _depthwise_at(
    layers: ElasticConvNorm | None, name: str, channels: int, kernel_size: int, switch: Switch
) -> ConvNorm | None:
    """Return a depthwise convolution, or None where its kernel is 0."""
    if not kernel_size:
        return None
    if layers is None:
        raise ValueError(f"ElasticUniversalBottleneck: {name}={kernel_size}, but this block holds no such convolution")
    return layers.at(channels, channels, switch, kernel_size=kernel_size)


class ElasticConvPair(Elastic):
    """Pairs of a convolution and a 1x1 convolution, of many channels, hidden channels and kernel sizes.

    Arguments as in :class:`ElasticUniversalBottleneck`.
    """

    def __init__(
        self,
        in_widths: Widths,
        hidden: Widths,
        out_widths: Widths,
        *,
        kernel_size: int,
        stride: int = 1,
        act: str = "relu",
        norm: NormFactory = calibrated_norm,
    ) -> None:
        super().__init__()
        self.widen = full(in_widths, hidden, norm, act, kernel_size=kernel_size, stride=stride)
        self.narrow = full(hidden, out_widths, norm, act)

    @shared
    def at(self, in_channels: int, hidden: int, out_channels: int, kernel_size: int, switch: Switch = ANY) -> ConvPair:
        """Return the pair of one size as plain layers that share this one's memory.

        Raises:
            ValueError: if this pair holds no such size.
        """
        widen = self.widen.at(in_channels, hidden, switch, kernel_size=kernel_size)
        return ConvPair(widen, self.narrow.at(hidden, out_channels, switch))

    def inner_channels(self) -> list[Axes]:
        """Return the axes of the hidden channels.

        Raises:
            ValueError: if the channels cannot change places, as with switchable batch norms.
        """
        return [[("narrow.conv.weight", 1), *((f"widen.{tensor}", 0) for tensor in self.widen.out_channel_tensors())]]
