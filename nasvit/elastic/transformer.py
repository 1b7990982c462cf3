"""Transformer blocks of many sizes in one memory."""

from __future__ import annotations

import torch
from torch import nn

from nasvit.elastic.attention import ElasticAttention
from nasvit.elastic.base import Elastic, check_size, shared
from nasvit.elastic.layer_norm import ElasticLayerNorm
from nasvit.elastic.mlp import ElasticMlp
from nasvit.layers.transformer import ChannelScale, ResidualBranch, TransformerBlock
from search_spaces import TransformerOptions


class SwitchableScale(Elastic):
    """Learned scales, separate ones for every kind of subnet, chosen by a row and a column.

    Source: Gong et al., NASViT (2022), section 3 ("switchable scaling layer"),
    https://openreview.net/forum?id=Qaw16njk6L

    Args:
        rows: kinds of subnets along the first axis.
        columns: kinds of subnets along the second axis.
        channels: channels of the widest subnet.
        factor_channels: if given, scales are also multiplied by ``factor_channels / channels`` of the subnet.
        first: initial value of every scale.
    """

    def __init__(
        self, rows: int, columns: int, channels: int, *, factor_channels: int | None = None, first: float = 1.0
    ) -> None:
        super().__init__()
        self.factor_channels = factor_channels
        self.weight = nn.Parameter(torch.full((rows, columns, channels), first))

    @shared
    def at(self, row: int, column: int, channels: int) -> ChannelScale:
        """Return the scales of one kind of subnet as a plain layer that shares this one's memory.

        Raises:
            ValueError: if this layer holds no such kind or width.
        """
        rows, columns, most = self.weight.shape
        check_size("SwitchableScale", "row + 1", row + 1, rows)
        check_size("SwitchableScale", "column + 1", column + 1, columns)
        check_size("SwitchableScale", "channels", channels, most)
        factor = 1.0 if self.factor_channels is None else self.factor_channels / channels
        return ChannelScale(self.view("weight", row, column, slice(channels)), factor)


class ElasticTransformerBlock(Elastic):
    """Attention with two MLPs, of many widths, MLP ratios, windows and map sizes.

    Source: Gong et al., NASViT (2022), section 3, https://openreview.net/forum?id=Qaw16njk6L; where its released code
    does otherwise the options say so (docs/nasvit_space.md).

    Args:
        channels: channels of the widest block.
        side: side of the largest map, in tokens.
        mlp_ratio: the largest hidden width of an MLP over the channels.
        scales: rows and columns of the switchable scales.
        act: name of the activation.
        options: options of all transformer blocks of a search space.

    Shape:
        The block of ``at``: ``(batch, channels, side, side) -> (batch, channels, side, side)``
    """

    def __init__(
        self,
        channels: int,
        side: int,
        *,
        mlp_ratio: float,
        scales: tuple[int, int],
        act: str = "swish",
        options: TransformerOptions = TransformerOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.options = options
        self.attention = ElasticAttention(
            channels,
            options.position_side or side,
            head_dim=options.head_dim,
            value_ratio=options.value_ratio,
            act=act,
            activate_first=options.projection_activation == "before",
        )
        self.mlp1 = ElasticMlp(channels, mlp_ratio, depthwise=options.mlp_depthwise, act=act)
        self.mlp2 = ElasticMlp(channels, mlp_ratio, depthwise=options.mlp_depthwise, act=act)
        self.norms = nn.ModuleDict({name: ElasticLayerNorm(channels, over=options.norm) for name in self.order})
        factor = options.head_dim if options.scale == "depth_tokens" else None
        first = options.scale_init
        self.attention_scale = SwitchableScale(*scales, channels, factor_channels=factor, first=first)
        self.mlp_scale = SwitchableScale(*scales, channels, factor_channels=factor, first=first)

    @property
    def order(self) -> tuple[str, str, str]:
        """The branches in the order in which they are applied."""
        return ("mlp1", "attention", "mlp2") if self.options.mlp_order == "macaron" else ("attention", "mlp2", "mlp1")

    @shared
    def at(
        self, channels: int, side: int, *, mlp_ratio: float, windows: int, scale: tuple[int, int]
    ) -> TransformerBlock:
        """Return the block of one size as plain layers that share this one's memory.

        Args:
            channels: channels.
            side: side of the map, in tokens.
            mlp_ratio: hidden width of an MLP over the channels.
            windows: windows along a side of the map.
            scale: row and column of the switchable scales.

        Raises:
            ValueError: if this block holds no such size.
        """
        bodies = {
            "attention": self.attention.at(channels, side, windows),
            "mlp1": self.mlp1.at(channels, mlp_ratio),
            "mlp2": self.mlp2.at(channels, mlp_ratio),
        }
        mlp_scale = self.mlp_scale.at(*scale, channels)
        scales = {"attention": self.attention_scale.at(*scale, channels), "mlp1": mlp_scale, "mlp2": mlp_scale}
        norms: dict[str, ElasticLayerNorm] = dict(self.norms.items())  # type: ignore[arg-type]
        return TransformerBlock(
            {name: ResidualBranch(norms[name].at(channels), bodies[name], scales[name]) for name in self.order}
        )
