"""Elastic ShuffleNet blocks and grouped layers."""

from __future__ import annotations

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.planned_blocks import ElasticBlock
from nasvit.elastic.unit import ElasticUnit, NormFactory, Switch, Widths, depthwise, full
from nasvit.layers.shuffle import GroupedLayers, ShuffleBlock, SplitShuffleBlock
from nasvit.models.family import BlockSpec


def shares(channels: Widths, groups: int, what: str) -> Widths:
    """Return the channels of one of ``groups`` equal groups.

    Raises:
        ValueError: if they cannot be shared equally.
    """
    for each in channels:
        if each % groups:
            raise ValueError(f"{what}: {each} channels, {groups} groups; legal: multiples of {groups}")
    return tuple(each // groups for each in channels)


class ElasticGroupedLayers(Elastic):
    """A grouped convolution as convolutions of their own, so that every group keeps its own first channels.

    Args:
        in_widths: channels in at each switch.
        out_widths: channels out at each switch.
        groups: how many groups.
        norm: builds a batch norm from the channels at each switch.
        act: name of the activation, or None.
        split: give each group its share of the channels in; otherwise each gets them all.
        kernel_size: side of the kernels, in pixels.
        stride: stride, in pixels.
    """

    def __init__(
        self,
        in_widths: Widths,
        out_widths: Widths,
        groups: int,
        norm: NormFactory,
        act: str | None,
        *,
        split: bool,
        kernel_size: int = 1,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.split = split
        share_in = shares(in_widths, groups, "grouped convolution") if split else in_widths
        share_out = shares(out_widths, groups, "grouped convolution")
        self.groups = nn.ModuleList(
            full(share_in, share_out, norm, act, kernel_size=kernel_size, stride=stride) for _ in range(groups)
        )

    @shared
    def at(self, in_channels: int, out_channels: int, switch: Switch) -> GroupedLayers:
        """Return the plain layers of one subnet.

        Raises:
            ValueError: if they hold no such size or it cannot be shared equally.
        """
        count = len(self.groups)
        share_in = shares((in_channels,), count, "grouped convolution")[0] if self.split else in_channels
        share_out = shares((out_channels,), count, "grouped convolution")[0]
        layers = [group.at(share_in, share_out, switch) for group in self.groups if isinstance(group, ElasticUnit)]
        return GroupedLayers(layers, split=self.split)


class ElasticShuffleBlock(ElasticBlock):
    """ShuffleNet blocks of many channels; see :class:`nasvit.layers.ShuffleBlock`.

    Arguments as in :class:`ElasticBlock`.
    """

    def __init__(self, block: BlockSpec, in_widths: Widths, widths: tuple[Widths, ...], norm: NormFactory) -> None:
        super().__init__(block, in_widths, widths, norm)
        hidden, out = widths
        groups = block.groups
        self.squeeze = ElasticGroupedLayers(in_widths, hidden, groups, norm, block.act, split=block.split_input)
        self.depthwise = depthwise(hidden, norm, None, kernel_size=block.kernel_size, stride=block.stride)
        made = out if self.keeps else tuple(o - i for o, i in zip(out, in_widths, strict=True))
        self.expand = ElasticGroupedLayers(hidden, made, groups, norm, None, split=True)

    @shared
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch) -> ShuffleBlock:
        self.check_shortcut(in_channels, channels[-1])
        hidden, out = channels
        return ShuffleBlock(
            self.squeeze.at(in_channels, hidden, switch),
            self.depthwise.at(hidden, hidden, switch),
            self.expand.at(hidden, out if self.keeps else out - in_channels, switch),
            groups=self.block.groups,
            pooled=not self.keeps,
        )


class ElasticSplitShuffleBlock(ElasticBlock):
    """ShuffleNet v2 blocks of many channels; see :class:`nasvit.layers.SplitShuffleBlock`.

    The branches are layers of their own, so that each keeps its own first channels. Which channels a branch reads
    follows from the channels of the subnet: halves are taken, and interleaved, of what that subnet has.

    Arguments as in :class:`ElasticBlock`.
    """

    def __init__(self, block: BlockSpec, in_widths: Widths, widths: tuple[Widths, ...], norm: NormFactory) -> None:
        super().__init__(block, in_widths, widths, norm)
        hidden, half = widths[0], shares(widths[1], 2, "channel split")
        depth = {"kernel_size": block.kernel_size, "stride": block.stride}
        self.shortcut: nn.ModuleList | None = None
        if not self.keeps:
            self.shortcut = nn.ModuleList(
                [depthwise(in_widths, norm, None, **depth), full(in_widths, half, norm, block.act)]
            )
        self.squeeze = full(half if self.keeps else in_widths, hidden, norm, block.act)
        self.depthwise = depthwise(hidden, norm, None, **depth)
        self.expand = full(hidden, half, norm, block.act)

    @shared
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch) -> SplitShuffleBlock:
        self.check_shortcut(in_channels, channels[-1])
        hidden, (half,) = channels[0], shares((channels[1],), 2, "channel split")
        shortcut = None
        if self.shortcut is not None:
            units = zip(self.shortcut, (in_channels, half), strict=True)
            shortcut = [unit.at(in_channels, out, switch) for unit, out in units if isinstance(unit, ElasticUnit)]
        return SplitShuffleBlock(
            shortcut,
            self.squeeze.at(half if self.keeps else in_channels, hidden, switch),
            self.depthwise.at(hidden, hidden, switch),
            self.expand.at(hidden, half, switch),
        )
