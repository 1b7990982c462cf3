"""Ghost blocks of many sizes in one memory."""

from __future__ import annotations

import math

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ANY, Switch, Widths
from nasvit.elastic.conv_norm import depthwise, full
from nasvit.elastic.norms import NormFactory, calibrated_norm
from nasvit.elastic.shortcut import check_kept
from nasvit.elastic.squeeze_excite import ElasticSqueezeExcite
from nasvit.layers.ghost import GhostBlock, GhostModule


class ElasticGhostModule(Elastic):
    """Ghost modules of many widths: half of the channels from a 1x1 convolution, the others from that half.

    The halves are interleaved, so that the first channels of a wide module are those of a narrow one, cheap ones
    included, and the next layer can take leading channels as everywhere. A network with the halves one after the
    other is the same up to the order of channels.

    Source: Han et al., GhostNet (2020), section 3.1, https://arxiv.org/abs/1911.11907

    Args:
        in_widths: channels in at each switch.
        out_widths: channels out at each switch.
        kernel_size: side of the largest cheap convolution, in pixels.
        act: name of the activation after both convolutions, or None.
        norm: builds a batch norm from the channels at each switch.
    """

    def __init__(
        self,
        in_widths: Widths,
        out_widths: Widths,
        *,
        kernel_size: int,
        act: str | None,
        norm: NormFactory = calibrated_norm,
    ) -> None:
        super().__init__()
        halves = tuple(math.ceil(out_channels / 2) for out_channels in out_widths)
        self.primary = full(in_widths, halves, norm, act)
        self.cheap = depthwise(halves, norm, act, kernel_size=kernel_size)

    @shared
    def at(self, in_channels: int, out_channels: int, kernel_size: int, switch: Switch = ANY) -> GhostModule:
        """Return the module of one size as plain layers that share this one's memory.

        Raises:
            ValueError: if this module holds no such size.
        """
        half = math.ceil(out_channels / 2)
        primary = self.primary.at(in_channels, half, switch)
        cheap = self.cheap.at(half, half, switch, kernel_size=kernel_size)
        return GhostModule(primary, cheap, out_channels, interleaved=True)


class ElasticGhostBlock(Elastic):
    """Ghost blocks of many channels, hidden channels and kernel sizes, without attention.

    The kernel size is that of all depthwise convolutions: the cheap ones, the strided one, and the shortcut's.

    Source: Han et al., GhostNet (2020), section 3.2, https://arxiv.org/abs/1911.11907, with cheap kernels of 3.

    Arguments as in :class:`nasvit.elastic.ElasticMBConv`, and:

    Args:
        keeps: whether no block of this one changes size or channels, so that the shortcut is always the input.

    Shape:
        The block of ``at``: ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self,
        in_widths: Widths,
        hidden: Widths,
        out_widths: Widths,
        *,
        kernel_size: int,
        stride: int = 1,
        gate: ElasticSqueezeExcite | None = None,
        act: str = "relu",
        keeps: bool = False,
        norm: NormFactory = calibrated_norm,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.widen = ElasticGhostModule(in_widths, hidden, kernel_size=kernel_size, act=act, norm=norm)
        self.depthwise = depthwise(hidden, norm, kernel_size=kernel_size, stride=stride) if stride > 1 else None
        self.squeeze_excite = gate
        self.narrow = ElasticGhostModule(hidden, out_widths, kernel_size=kernel_size, act=None, norm=norm)
        self.shortcut: nn.ModuleList | None = None
        if not keeps:
            strided = depthwise(in_widths, norm, kernel_size=kernel_size, stride=stride)
            self.shortcut = nn.ModuleList([strided, full(in_widths, out_widths, norm)])

    @shared
    def at(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        kernel_size: int,
        switch: Switch = ANY,
        counted: int | None = None,
    ) -> GhostBlock:
        """Return the block of one size as plain layers that share this one's memory.

        Raises:
            ValueError: if this block holds no such size, or keeps its input and should change its channels.
        """
        strided = self.depthwise
        return GhostBlock(
            self.widen.at(in_channels, hidden, kernel_size, switch),
            None if strided is None else strided.at(hidden, hidden, switch, kernel_size=kernel_size),
            None if self.squeeze_excite is None else self.squeeze_excite.at(hidden, counted),
            self.narrow.at(hidden, out_channels, kernel_size, switch),
            self._shortcut_at(in_channels, out_channels, kernel_size, switch),
        )

    def _shortcut_at(self, in_channels: int, out_channels: int, kernel_size: int, switch: Switch) -> nn.Module:
        if self.shortcut is None:
            check_kept(in_channels, out_channels)
        if self.shortcut is None or (self.stride == 1 and in_channels == out_channels):
            return nn.Identity()
        strided, project = self.shortcut
        return nn.Sequential(
            strided.at(in_channels, in_channels, switch, kernel_size=kernel_size),  # type: ignore[operator]
            project.at(in_channels, out_channels, switch),  # type: ignore[operator]
        )
