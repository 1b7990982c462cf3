"""Inverted residual blocks of many sizes in one memory."""

from __future__ import annotations

from typing import Literal

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ANY, Switch, Widths
from nasvit.elastic.conv import ElasticConv2d
from nasvit.elastic.conv_norm import Axes, depthwise, full
from nasvit.elastic.norms import NormFactory, calibrated_norm
from nasvit.elastic.shortcut import check_kept
from nasvit.elastic.squeeze_excite import ElasticSqueezeExcite
from nasvit.layers.mbconv import MBConv
from nasvit.layers.shortcut import PoolShortcut

Shortcut = Literal["pool", "where_equal", "always", "never"]


class ElasticMBConv(Elastic):
    """Inverted residual blocks of many channels, hidden channels and kernel sizes.

    Source: Sandler et al., MobileNetV2 (2018), https://arxiv.org/abs/1801.04381; without a widening convolution it is
    the depthwise separable convolution of Howard et al., MobileNets (2017), https://arxiv.org/abs/1704.04861. Shared
    weights as in Yu et al., BigNAS (2020), https://arxiv.org/abs/2003.11142

    Args:
        in_widths: channels in at each switch.
        hidden: hidden channels at each switch; None: the channels in, without a widening convolution.
        out_widths: channels out at each switch.
        kernel_size: side of the largest depthwise kernel, in pixels.
        stride: stride of the depthwise convolution, in pixels.
        gate: squeeze-and-excite of the hidden channels, or None.
        act: name of the activation.
        out_act: name of the activation after the narrowing convolution, or None.
        shortcut: "pool": every block has a shortcut: average pooling by the stride, then a 1x1 convolution that changes
            the channels. "where_equal": blocks that keep size and channels add their input. "always": all blocks do,
            so none may change them. "never": no block does.
        zero_last_gain: start the last batch norm's gain at 0, so that a block starts as its shortcut (Goyal et al.,
            2017, https://arxiv.org/abs/1706.02677).
        norm: builds a batch norm from the channels at each switch.

    Shape:
        The block of ``at``: ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self,
        in_widths: Widths,
        hidden: Widths | None,
        out_widths: Widths,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        gate: ElasticSqueezeExcite | None = None,
        act: str = "swish",
        out_act: str | None = None,
        shortcut: Shortcut = "where_equal",
        zero_last_gain: bool = False,
        norm: NormFactory = calibrated_norm,
    ) -> None:
        super().__init__()
        self.stride, self.adds_input = stride, shortcut
        self.expand = None if hidden is None else full(in_widths, hidden, norm, act)
        hidden = in_widths if hidden is None else hidden
        self.depthwise = depthwise(hidden, norm, act, kernel_size=kernel_size, stride=stride)
        self.squeeze_excite = gate
        self.project = full(hidden, out_widths, norm, out_act)
        self.shortcut = ElasticConv2d(max(in_widths), max(out_widths)) if shortcut == "pool" else None
        if zero_last_gain:
            self.project.zero_gains()

    @shared
    def at(
        self,
        in_channels: int,
        hidden: int | None,
        out_channels: int,
        kernel_size: int | None = None,
        switch: Switch = ANY,
        counted: int | None = None,
        trim: int = 0,
    ) -> MBConv:
        """Return the block of one size as plain layers that share this one's memory.

        Args:
            in_channels: channels in.
            hidden: hidden channels; None: the channels in, without a widening convolution.
            out_channels: channels out.
            kernel_size: side of the depthwise kernel in pixels; the largest if left out.
            switch: the subnet that its batch norms belong to.
            counted: channels that the gate's squeezed ones are counted from; the hidden ones if left out.
            trim: pixels that the depthwise convolution pads less than half its kernel.

        Raises:
            ValueError: if this block holds no such size, or adds its input and should change its channels.
        """
        if hidden is not None and self.expand is None:
            raise ValueError(f"ElasticMBConv: {hidden} hidden channels, but this block holds no widening convolution")
        expand = None if hidden is None or self.expand is None else self.expand.at(in_channels, hidden, switch)
        wide = in_channels if hidden is None else hidden
        return MBConv(
            expand,
            self.depthwise.at(wide, wide, switch, kernel_size=kernel_size, trim=trim),
            None if self.squeeze_excite is None else self.squeeze_excite.at(wide, counted),
            self.project.at(wide, out_channels, switch),
            self._shortcut_at(in_channels, out_channels),
        )

    def _shortcut_at(self, in_channels: int, out_channels: int) -> nn.Module | None:
        if self.adds_input == "always":
            check_kept(in_channels, out_channels)
            return nn.Identity()
        if self.adds_input != "never" and self.stride == 1 and in_channels == out_channels:
            return nn.Identity()
        if self.shortcut is None:
            return None
        conv = None if in_channels == out_channels else self.shortcut.at(in_channels, out_channels)
        return PoolShortcut(self.stride, conv)

    def inner_channels(self) -> list[Axes]:
        """Return the axes of the hidden channels, if there is a widening convolution, and of the gate's squeezed ones.

        Raises:
            ValueError: if the channels cannot change places, as with switchable batch norms.
        """
        if self.expand is None:
            return []
        hidden: Axes = [("project.conv.weight", 1)]
        for name, layers in (("depthwise", self.depthwise), ("expand", self.expand)):
            hidden += [(f"{name}.{tensor}", 0) for tensor in layers.out_channel_tensors()]
        if self.squeeze_excite is None:
            return [hidden]
        gate = "squeeze_excite"
        hidden += [(f"{gate}.expand.weight", 0), (f"{gate}.expand.bias", 0), (f"{gate}.reduce.weight", 1)]
        return [hidden, [(f"{gate}.expand.weight", 1), (f"{gate}.reduce.weight", 0), (f"{gate}.reduce.bias", 0)]]
