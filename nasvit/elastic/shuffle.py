"""Elastic ShuffleNet blocks and grouped layers."""

from __future__ import annotations

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ANY, Switch, Widths
from nasvit.elastic.conv_norm import ElasticConvNorm, depthwise, full
from nasvit.elastic.norms import NormFactory, calibrated_norm
from nasvit.elastic.shortcut import check_kept
from nasvit.layers.shuffle import GroupedLayers, ShuffleBlock, SplitShuffleBlock


def shares(channels: Widths, groups: int, what: str) -> Widths:
    """Return the channels of one of ``groups`` equal groups.

    Raises:
        ValueError: if the channels cannot be shared equally.
    """
    for each in channels:
        if each % groups:
            raise ValueError(f"{what}: {each} channels, {groups} groups; legal: multiples of {groups}")
    return tuple(each // groups for each in channels)


class ElasticGroupedLayers(Elastic):
    """A grouped convolution as separate convolutions, so that every group keeps its own first channels.

    Args:
        in_widths: channels in at each switch.
        out_widths: channels out at each switch.
        groups: number of groups.
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
    def at(self, in_channels: int, out_channels: int, switch: Switch = ANY) -> GroupedLayers:
        """Return the plain layers of one subnet.

        Raises:
            ValueError: if the layers hold no such size, or groups cannot share it equally.
        """
        count = len(self.groups)
        share_in = shares((in_channels,), count, "grouped convolution")[0] if self.split else in_channels
        share_out = shares((out_channels,), count, "grouped convolution")[0]
        layers = [group.at(share_in, share_out, switch) for group in self.groups if isinstance(group, ElasticConvNorm)]
        return GroupedLayers(layers, split=self.split)


class ElasticShuffleBlock(Elastic):
    """ShuffleNet blocks of many channels; see :class:`nasvit.layers.ShuffleBlock`.

    A block that does not keep its channels pools its input and appends it. Arguments as in
    :class:`nasvit.elastic.ElasticResidual`, and:

    Args:
        groups: groups of the 1x1 convolutions.
        split_input: give each group of the first convolution its share of the channels in; otherwise all.
    """

    def __init__(
        self,
        in_widths: Widths,
        widths: tuple[Widths, ...],
        *,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        split_input: bool = True,
        act: str = "relu",
        keeps: bool = False,
        norm: NormFactory = calibrated_norm,
    ) -> None:
        super().__init__()
        (hidden, out_widths), self.groups, self.keeps = widths, groups, keeps
        self.squeeze = ElasticGroupedLayers(in_widths, hidden, groups, norm, act, split=split_input)
        self.depthwise = depthwise(hidden, norm, kernel_size=kernel_size, stride=stride)
        made = out_widths if keeps else tuple(o - i for o, i in zip(out_widths, in_widths, strict=True))
        self.expand = ElasticGroupedLayers(hidden, made, groups, norm, None, split=True)

    @shared
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch = ANY) -> ShuffleBlock:
        """Return the block of one size; see :meth:`nasvit.elastic.ElasticResidual.at`."""
        hidden, out_channels = channels
        if self.keeps:
            check_kept(in_channels, out_channels)
        return ShuffleBlock(
            self.squeeze.at(in_channels, hidden, switch),
            self.depthwise.at(hidden, hidden, switch),
            self.expand.at(hidden, out_channels if self.keeps else out_channels - in_channels, switch),
            groups=self.groups,
            pooled=not self.keeps,
        )


class ElasticSplitShuffleBlock(Elastic):
    """ShuffleNet v2 blocks of many channels; see :class:`nasvit.layers.SplitShuffleBlock`.

    The branches are layers of their own, so that each keeps its own first channels. Which channels a branch reads
    follows from the channels of the subnet: halves are taken, and interleaved, of what that subnet has.

    Arguments as in :class:`nasvit.elastic.ElasticResidual`. Half of the channels pass a block that keeps them; else
    all go through both branches.
    """

    def __init__(
        self,
        in_widths: Widths,
        widths: tuple[Widths, ...],
        *,
        kernel_size: int = 3,
        stride: int = 1,
        act: str = "relu",
        keeps: bool = False,
        norm: NormFactory = calibrated_norm,
    ) -> None:
        super().__init__()
        (hidden, out_widths), self.keeps = widths, keeps
        half = shares(out_widths, 2, "channel split")
        self.shortcut: nn.ModuleList | None = None
        if not keeps:
            strided = depthwise(in_widths, norm, kernel_size=kernel_size, stride=stride)
            self.shortcut = nn.ModuleList([strided, full(in_widths, half, norm, act)])
        self.squeeze = full(half if keeps else in_widths, hidden, norm, act)
        self.depthwise = depthwise(hidden, norm, kernel_size=kernel_size, stride=stride)
        self.expand = full(hidden, half, norm, act)

    @shared
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch = ANY) -> SplitShuffleBlock:
        """Return the block of one size; see :meth:`nasvit.elastic.ElasticResidual.at`."""
        hidden, out_channels = channels
        if self.keeps:
            check_kept(in_channels, out_channels)
        (half,) = shares((out_channels,), 2, "channel split")
        shortcut = None
        if self.shortcut is not None:
            pairs = zip(self.shortcut, (in_channels, half), strict=True)
            shortcut = [each.at(in_channels, out, switch) for each, out in pairs if isinstance(each, ElasticConvNorm)]
        return SplitShuffleBlock(
            shortcut,
            self.squeeze.at(half if self.keeps else in_channels, hidden, switch),
            self.depthwise.at(hidden, hidden, switch),
            self.expand.at(hidden, half, switch),
        )
