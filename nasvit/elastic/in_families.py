"""The blocks of families: sized by a channel plan, layer by layer.

Every function takes a block from :meth:`nasvit.models.Family.fixed`, whose shortcut and reduction are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from nasvit.elastic.base import Elastic
from nasvit.elastic.batch_norm import Switch, Widths
from nasvit.elastic.conv_norm import ElasticConvNorm, full
from nasvit.elastic.ends import ElasticHead, ElasticStem
from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.norms import NormFactory
from nasvit.elastic.shuffle import ElasticGroupedLayers, ElasticShuffleBlock
from nasvit.elastic.squeeze_excite import ElasticSqueezeExcite
from nasvit.layers.mbconv import MBConv
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec

E = TypeVar("E", bound=Elastic)
Channels = tuple[int, ...]
"""Hidden channels and channels out of one block, one entry per decision."""


def build_stem(spec: StemSpec, image_channels: int, widths: Widths, norm: NormFactory) -> ElasticStem:
    """Build the elastic stem of a family."""
    images, sides = (image_channels,) * len(widths), {"kernel_size": spec.kernel_size, "stride": spec.stride}
    conv: ElasticConvNorm | ElasticGroupedLayers
    if spec.groups == 1:
        conv = full(images, widths, norm, spec.act, **sides)
    else:
        conv = ElasticGroupedLayers(images, widths, spec.groups, norm, spec.act, split=False, **sides)
    return ElasticStem(conv, image_channels, pool=spec.pool, pool_padding=spec.pool_padding)


def build_head(
    spec: HeadSpec, in_widths: Widths, widths: tuple[Widths, ...], classes: int, norm: NormFactory
) -> ElasticHead:
    """Build the elastic head of a family."""
    return ElasticHead(in_widths, *spec.split(widths), classes, act=spec.act, norm=norm)


def build_inverted(spec: BlockSpec, in_widths: Widths, widths: tuple[Widths, ...], norm: NormFactory) -> ElasticMBConv:
    """Build an elastic inverted residual block."""
    hidden, gate = widths[0] if spec.widens else None, None
    if spec.squeeze_excite:
        gate = ElasticSqueezeExcite(max(hidden or in_widths), spec.squeeze_channels)
    return ElasticMBConv(
        in_widths,
        hidden,
        widths[-1],
        kernel_size=spec.kernel_size,
        stride=spec.stride,
        gate=gate,
        act=spec.act,
        out_act=spec.out_act,
        shortcut="always" if spec.shortcut else "never",
        norm=norm,
    )


def inverted_at(block: ElasticMBConv, in_channels: int, channels: Channels, switch: Switch) -> MBConv:
    """Return the inverted residual block of one subnet."""
    hidden = None if block.expand is None else channels[0]
    return block.at(in_channels, hidden, channels[-1], switch=switch)


def build_keeping(
    elastic: Callable[..., E], spec: BlockSpec, in_widths: Widths, widths: tuple[Widths, ...], norm: NormFactory
) -> E:
    """Build a block of an elastic class with the argument ``keeps``: whether the block keeps its channels."""
    sides = {"kernel_size": spec.kernel_size, "stride": spec.stride}
    return elastic(in_widths, widths, act=spec.act, keeps=bool(spec.shortcut), norm=norm, **sides)


def build_shuffle(
    spec: BlockSpec, in_widths: Widths, widths: tuple[Widths, ...], norm: NormFactory
) -> ElasticShuffleBlock:
    """Build an elastic block of ShuffleNet v1."""
    grouped = partial(ElasticShuffleBlock, groups=spec.groups, split_input=spec.split_input)
    return build_keeping(grouped, spec, in_widths, widths, norm)
