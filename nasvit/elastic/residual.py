"""ResNet's blocks of many sizes in one memory."""

from __future__ import annotations

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ANY, Switch, Widths
from nasvit.elastic.conv_norm import ElasticConvNorm, full
from nasvit.elastic.norms import NormFactory, calibrated_norm
from nasvit.elastic.shortcut import check_kept
from nasvit.layers.residual import ResidualBlock


class ElasticResidual(Elastic):
    """The bottleneck (1x1, 3x3, 1x1) and the basic block (3x3, 3x3) of ResNet, of many channels.

    The stride is that of the first 3x3 convolution. Where size or channels may change, the shortcut is a 1x1
    convolution.

    Source: He et al., Deep Residual Learning (2016), https://arxiv.org/abs/1512.03385

    Args:
        in_widths: channels in at each switch.
        widths: channels after every convolution at each switch: of three for a bottleneck, of two for a basic block.
        kernel_size: side of the kernels other than 1x1, in pixels.
        stride: stride, in pixels.
        act: name of the activation.
        keeps: whether every block adds its unchanged input.
        norm: builds a batch norm from the channels at each switch.

    Shape:
        The block of ``at``: ``(batch, in_channels, height, width) -> (batch, channels[-1], height', width')``
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
        self.act = act
        sides = (1, kernel_size, 1) if len(widths) == 3 else (kernel_size, kernel_size)
        strides = (1, stride, 1) if len(widths) == 3 else (stride, 1)
        acts = (*[act] * (len(widths) - 1), None)
        before = (in_widths, *widths[:-1])
        self.body = nn.ModuleList(
            full(ins, outs, norm, after, kernel_size=side, stride=step)
            for ins, outs, after, side, step in zip(before, widths, acts, sides, strides, strict=True)
        )
        self.shortcut = None if keeps else full(in_widths, widths[-1], norm, stride=stride)

    @shared
    def at(self, in_channels: int, channels: tuple[int, ...], switch: Switch = ANY) -> ResidualBlock:
        """Return the block of one size as plain layers that share this one's memory.

        Args:
            in_channels: channels in.
            channels: channels after every convolution.
            switch: the subnet that its batch norms belong to.

        Raises:
            ValueError: if this block holds no such size, or adds its input and should change its channels.
        """
        shortcut: nn.Module = nn.Identity()
        if self.shortcut is None:
            check_kept(in_channels, channels[-1])
        else:
            shortcut = self.shortcut.at(in_channels, channels[-1], switch)
        sizes = zip(self.body, (in_channels, *channels[:-1]), channels, strict=True)
        body = [each.at(ins, outs, switch) for each, ins, outs in sizes if isinstance(each, ElasticConvNorm)]
        return ResidualBlock(body, shortcut, self.act)
