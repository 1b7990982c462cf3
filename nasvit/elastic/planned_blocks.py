"""Elastic blocks whose channels are planned layer by layer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.squeeze_excite import ElasticSqueezeExcite
from nasvit.elastic.unit import ElasticUnit, NormFactory, Switch, Widths, depthwise, full
from nasvit.layers.mbconv import MBConv
from nasvit.layers.residual import ResidualBlock
from nasvit.models.family import BlockSpec
from search_spaces import make_divisible

SMALLEST_SQUEEZE = 16


class ElasticBlock(Elastic):
    """Base of the blocks: what they have in common is how they are asked for.

    Args:
        block: what the block is.
        in_widths: channels in at each switch.
        widths: hidden channels and channels out at each switch, one entry a decision.
        norm: builds a batch norm from the channels at each switch.
    """

    def __init__(self, block: BlockSpec, in_widths: Widths, widths: tuple[Widths, ...], norm: NormFactory) -> None:
        super().__init__()
        self.block = block
        same = block.stride == 1 and in_widths == widths[-1]
        self.keeps = same if block.shortcut is None else block.shortcut

    def fixed(self) -> BlockSpec:
        """Return the block with what the widths decided written down."""
        return replace(self.block, shortcut=self.keeps)

    @abstractmethod
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch) -> nn.Module:
        """Return the plain block of one subnet.

        Args:
            in_channels: channels in.
            channels: hidden channels and channels out, one entry a decision.
            switch: which subnet.

        Raises:
            ValueError: if this block holds no such size, or adds its input and should change its channels.
        """

    def check_shortcut(self, in_channels: int, out_channels: int) -> None:
        """Raise if a block that adds its input should change its channels.

        Raises:
            ValueError: naming both numbers.
        """
        if self.keeps and in_channels != out_channels:
            raise ValueError(
                f"channel plan: a block that adds its input has {in_channels} channels in and {out_channels} out; "
                "they must be equal"
            )


class ElasticInvertedResidual(ElasticBlock):
    """Inverted residual blocks of many hidden channels and channels out.

    Source: Sandler et al., MobileNetV2 (2018), https://arxiv.org/abs/1801.04381; without a widening convolution it is
    the depthwise separable convolution of Howard et al., MobileNets (2017), https://arxiv.org/abs/1704.04861. Arguments
    as in :class:`ElasticBlock`.
    """

    def __init__(self, block: BlockSpec, in_widths: Widths, widths: tuple[Widths, ...], norm: NormFactory) -> None:
        super().__init__(block, in_widths, widths, norm)
        hidden = widths[0] if block.widens else in_widths
        self.expand = full(in_widths, hidden, norm, block.act) if block.widens else None
        self.depthwise = depthwise(hidden, norm, block.act, kernel_size=block.kernel_size, stride=block.stride)
        self.reduction = 4.0
        self.squeeze_excite: ElasticSqueezeExcite | None = None
        if block.squeeze_excite:
            self._build_squeeze_excite(min(hidden), max(hidden))
        self.project = full(hidden, widths[-1], norm, block.out_act)

    def _build_squeeze_excite(self, least: int, most: int) -> None:
        """Squeeze every width in the proportion of the narrowest, which is that of MobileNetV3."""
        if self.block.reduction is not None:
            self.reduction = self.block.reduction
            squeezed = self.squeezed_channels(most)
        else:
            self.reduction = least / max(make_divisible(least / 4, 8), SMALLEST_SQUEEZE) + 1e-10
            squeezed = max(round(most / self.reduction), SMALLEST_SQUEEZE)
            self.reduction = most / squeezed
        self.squeeze_excite = ElasticSqueezeExcite(most, squeezed)

    def fixed(self) -> BlockSpec:
        return replace(super().fixed(), reduction=self.reduction if self.squeeze_excite is not None else None)

    def squeezed_channels(self, hidden: int) -> int:
        """Return the squeezed channels for so many hidden ones."""
        return make_divisible(max(hidden / self.reduction, SMALLEST_SQUEEZE), 1)

    @shared
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch) -> MBConv:
        self.check_shortcut(in_channels, channels[-1])
        hidden = channels[0] if self.expand is not None else in_channels
        gate = self.squeeze_excite
        return MBConv(
            None if self.expand is None else self.expand.at(in_channels, hidden, switch),
            self.depthwise.at(hidden, hidden, switch),
            None if gate is None else gate.at(hidden, self.squeezed_channels(hidden)),
            self.project.at(hidden, channels[-1], switch),
            nn.Identity() if self.keeps else None,
        )


class ElasticResidual(ElasticBlock):
    """The bottleneck (1x1, 3x3, 1x1) and the basic block (3x3, 3x3) of ResNet, of many channels.

    The stride is that of the first 3x3 convolution. Where size or channels change, the shortcut is a 1x1 convolution.

    Source: He et al., Deep Residual Learning (2016), https://arxiv.org/abs/1512.03385. Arguments as in
    :class:`ElasticBlock`.
    """

    def __init__(self, block: BlockSpec, in_widths: Widths, widths: tuple[Widths, ...], norm: NormFactory) -> None:
        super().__init__(block, in_widths, widths, norm)
        side = block.kernel_size
        sides = (1, side, 1) if block.kind == "bottleneck" else (side, side)
        self.body = nn.ModuleList()
        widths_in = in_widths
        for number, widths_out in enumerate(widths):
            act = None if number == len(widths) - 1 else block.act
            stride = block.stride if number == sides.index(side) else 1
            self.body.append(full(widths_in, widths_out, norm, act, kernel_size=sides[number], stride=stride))
            widths_in = widths_out
        self.shortcut = None if self.keeps else full(in_widths, widths[-1], norm, None, stride=block.stride)

    @shared
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch) -> ResidualBlock:
        self.check_shortcut(in_channels, channels[-1])
        body: list[nn.Module] = []
        channels_in = in_channels
        for unit, channels_out in zip(self.body, channels, strict=True):
            assert isinstance(unit, ElasticUnit)
            body.append(unit.at(channels_in, channels_out, switch))
            channels_in = channels_out
        shortcut = nn.Identity() if self.shortcut is None else self.shortcut.at(in_channels, channels[-1], switch)
        return ResidualBlock(body, shortcut, self.block.act)
