"""Ghost blocks of many sizes in one memory."""

from __future__ import annotations

import math

from torch import nn

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ElasticBatchNorm2d
from nasvit.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from nasvit.elastic.conv_norm import ElasticConvNorm
from nasvit.elastic.squeeze_excite import ElasticSqueezeExcite
from nasvit.layers.ghost import GhostBlock, GhostModule
from search_spaces import MBConvOptions


class ElasticGhostModule(Elastic):
    """Ghost modules of many widths: half of the channels from a 1x1 convolution, the other half from these.

    The halves are interleaved, so that the first channels of a wide module are those of a narrow one, cheap ones
    included, and whatever comes next can take leading channels as everywhere. A network with the halves one after the
    other is the same up to the order of channels.

    Source: Han et al., GhostNet (2020), section 3.1, https://arxiv.org/abs/1911.11907

    Args:
        in_channels: channels in of the widest module.
        out_channels: channels out of the widest module.
        kernel_size: side of the largest cheap convolution, in pixels.
        act: name of the activation after both convolutions, or None.
        stored_statistics: see :class:`nasvit.elastic.ElasticBatchNorm2d`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, act: str | None, stored_statistics: bool
    ) -> None:
        super().__init__()
        half = math.ceil(out_channels / 2)

        def norm() -> ElasticBatchNorm2d:
            return ElasticBatchNorm2d(half, stored_statistics=stored_statistics)

        self.primary = ElasticConvNorm(ElasticConv2d(in_channels, half), norm(), act)
        self.cheap = ElasticConvNorm(ElasticDepthwiseConv2d(half, kernel_size), norm(), act)

    @shared
    def at(self, in_channels: int, out_channels: int, kernel_size: int) -> GhostModule:
        """Return the module of one size as plain layers that share this one's memory.

        Raises:
            ValueError: if this module holds no such size.
        """
        half = math.ceil(out_channels / 2)
        primary, cheap = self.primary.at(in_channels, half), self.cheap.at(half, kernel_size=kernel_size)
        return GhostModule(primary, cheap, out_channels, interleaved=True)


class ElasticGhostBlock(Elastic):
    """Ghost blocks of many widths, kernel sizes and expand ratios, without attention.

    Hidden channels are the input's times the expand ratio, rounded as the options say. The kernel size is that of all
    depthwise convolutions: the cheap ones, the strided one, and the shortcut's.

    Source: Han et al., GhostNet (2020), section 3.2, https://arxiv.org/abs/1911.11907, with cheap kernels of 3.

    Args:
        in_channels: channels in of the widest block.
        out_channels: channels out of the widest block.
        kernel_size: side of the largest depthwise kernel, in pixels.
        expand_ratio: the largest hidden channels over the channels in.
        stride: stride of the block, in pixels.
        squeeze_excite: whether there is a gate on the hidden channels.
        keeps: whether no block of this one changes size or channels, so that the shortcut is always the input.
        act: name of the activation.
        options: rounding and gates.
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
        keeps: bool = False,
        act: str = "relu",
        options: MBConvOptions = MBConvOptions(),  # noqa: B008 - frozen
        stored_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.options = stride, options
        hidden = self.hidden_channels(in_channels, expand_ratio)

        def ghost(channels_in: int, channels_out: int, act: str | None) -> ElasticGhostModule:
            sizes = {"kernel_size": kernel_size, "stored_statistics": stored_statistics}
            return ElasticGhostModule(channels_in, channels_out, act=act, **sizes)  # type: ignore[arg-type]

        def strided(channels: int) -> ElasticConvNorm:
            norm = ElasticBatchNorm2d(channels, stored_statistics=stored_statistics)
            return ElasticConvNorm(ElasticDepthwiseConv2d(channels, kernel_size, stride=stride), norm)

        self.widen = ghost(in_channels, hidden, act)
        self.depthwise = strided(hidden) if stride > 1 else None
        self.squeeze_excite = (
            ElasticSqueezeExcite(hidden, options.squeeze_channels(hidden), act=options.squeeze_excite_activation)
            if squeeze_excite
            else None
        )
        self.narrow = ghost(hidden, out_channels, None)
        self.shortcut: nn.ModuleList | None = None
        if not keeps:
            norm = ElasticBatchNorm2d(out_channels, stored_statistics=stored_statistics)
            project = ElasticConvNorm(ElasticConv2d(in_channels, out_channels), norm)
            self.shortcut = nn.ModuleList([strided(in_channels), project])

    def hidden_channels(self, in_channels: int, expand_ratio: float) -> int:
        """Return the hidden channels of a block."""
        return in_channels if expand_ratio == 1 else self.options.hidden_channels(in_channels, expand_ratio)

    @shared
    def at(self, in_channels: int, out_channels: int, kernel_size: int, expand_ratio: float) -> GhostBlock:
        """Return the block of one size as plain layers that share this one's memory.

        Raises:
            ValueError: if this block holds no such size.
        """
        hidden, gate = self.hidden_channels(in_channels, expand_ratio), self.squeeze_excite
        return GhostBlock(
            self.widen.at(in_channels, hidden, kernel_size),
            None if self.depthwise is None else self.depthwise.at(hidden, kernel_size=kernel_size),
            None if gate is None else gate.at(hidden, self.options.squeeze_channels(hidden)),
            self.narrow.at(hidden, out_channels, kernel_size),
            self._shortcut_at(in_channels, out_channels, kernel_size),
        )

    def _shortcut_at(self, in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
        if self.stride == 1 and in_channels == out_channels:
            return nn.Identity()
        if self.shortcut is None:
            raise ValueError(f"ElasticGhostBlock: {in_channels} channels in, {out_channels} out; this block keeps them")
        depthwise, project = self.shortcut
        return nn.Sequential(
            depthwise.at(in_channels, kernel_size=kernel_size),  # type: ignore[operator]
            project.at(in_channels, out_channels),  # type: ignore[operator]
        )
