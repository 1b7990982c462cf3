"""Inverted residual blocks of many sizes in one memory."""

from __future__ import annotations

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ElasticBatchNorm2d
from nasvit.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from nasvit.elastic.conv_norm import ElasticConvNorm
from nasvit.elastic.squeeze_excite import ElasticSqueezeExcite
from nasvit.layers.mbconv import MBConv
from nasvit.layers.shortcut import PoolShortcut
from search_spaces import MBConvOptions


class ElasticMBConv(Elastic):
    """Inverted residual blocks of many widths, kernel sizes and expand ratios.

    Hidden channels are the input's times the expand ratio, rounded as the options say; at ratio 1 they are the
    input's and there is no widening convolution.

    Source: Yu et al., BigNAS (2020), https://arxiv.org/abs/2003.11142; sizes as in Wang et al., AttentiveNAS (2021),
    https://arxiv.org/abs/2011.09011

    Args:
        in_channels: channels in of the widest block.
        out_channels: channels out of the widest block.
        kernel_size: side of the largest depthwise kernel, in pixels.
        expand_ratio: the largest hidden channels over the channels in.
        stride: stride of the depthwise convolution, in pixels.
        squeeze_excite: whether there is a gate on the hidden channels.
        act: name of the activation.
        options: what all blocks of a search space have in common.
        stored_statistics: see :class:`nasvit.elastic.ElasticBatchNorm2d`.

    Shape:
        The block of ``at``: ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        expand_ratio: float,
        stride: int = 1,
        squeeze_excite: bool = False,
        act: str = "swish",
        options: MBConvOptions = MBConvOptions(),  # noqa: B008 - frozen
        stored_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.options = stride, options
        hidden = self.hidden_channels(in_channels, expand_ratio)

        def norm(channels: int) -> ElasticBatchNorm2d:
            return ElasticBatchNorm2d(channels, stored_statistics=stored_statistics)

        self.expand = None
        if expand_ratio > 1:
            self.expand = ElasticConvNorm(ElasticConv2d(in_channels, hidden), norm(hidden), act)
        depthwise = ElasticDepthwiseConv2d(hidden, kernel_size, stride=stride)
        self.depthwise = ElasticConvNorm(depthwise, norm(hidden), act)
        self.squeeze_excite = (
            ElasticSqueezeExcite(hidden, options.squeeze_channels(hidden), act=options.squeeze_excite_activation)
            if squeeze_excite
            else None
        )
        self.project = ElasticConvNorm(ElasticConv2d(hidden, out_channels), norm(out_channels))
        self.shortcut = ElasticConv2d(in_channels, out_channels) if options.shortcut == "pool" else None
        self.has_shortcut = options.shortcut == "pool" or (stride == 1 and in_channels == out_channels)

    def hidden_channels(self, in_channels: int, expand_ratio: float) -> int:
        """Return the hidden channels of a block."""
        return in_channels if expand_ratio == 1 else self.options.hidden_channels(in_channels, expand_ratio)

    @shared
    def at(self, in_channels: int, out_channels: int, kernel_size: int, expand_ratio: float) -> MBConv:
        """Return the block of one size as plain layers that share this one's memory.

        Raises:
            ValueError: if this block holds no such size.
        """
        hidden = self.hidden_channels(in_channels, expand_ratio)
        if expand_ratio != 1 and self.expand is None:
            raise ValueError(f"ElasticMBConv: expand_ratio={expand_ratio}, but this block holds only 1")
        gate = self.squeeze_excite
        return MBConv(
            None if expand_ratio == 1 or self.expand is None else self.expand.at(in_channels, hidden),
            self.depthwise.at(hidden, kernel_size=kernel_size),
            None if gate is None else gate.at(hidden, self.options.squeeze_channels(hidden)),
            self.project.at(hidden, out_channels),
            self._shortcut_at(in_channels, out_channels),
        )

    def _shortcut_at(self, in_channels: int, out_channels: int) -> nn.Module | None:
        same = self.stride == 1 and in_channels == out_channels
        if same:
            return nn.Identity()
        if self.shortcut is None:
            return None
        conv = None if in_channels == out_channels else self.shortcut.at(in_channels, out_channels)
        return PoolShortcut(self.stride, conv)
